"""The one app of the project."""

from django.apps import AppConfig


class CaseloopConfig(AppConfig):
    """Tables, pages and commands of Caseloop."""

    name = "webapp"
    verbose_name = "Caseloop"

    def ready(self) -> None:
        """Load the system checks."""
        from webapp import checks  # noqa: F401, PLC0415 - registers itself; needs the app registry
