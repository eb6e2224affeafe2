"""manage.py register_model DIR"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ml.progress import Progress
from webapp import worker
from webapp.errors import CaseloopError


class Command(BaseCommand):
    """Take in a model that was made elsewhere."""

    help = (
        "Register a model folder, such as import-checkpoint writes, as a version that an admin can put in use, "
        "measured on the test cases beside the version that is."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the folder."""
        parser.add_argument("folder", type=Path)

    def handle(self, *args: Any, **options: Any) -> None:
        """Register it, measured beside the version in use."""
        try:
            version = worker.register(options["folder"], progress=self._tell)
        except CaseloopError as exc:
            raise CommandError(str(exc)) from exc
        self.stderr.write("")
        self.stdout.write(f"{version} of {version.schema.title} is registered; put it in use on the page Models.")
        if not version.evaluations.exists():
            self.stdout.write("Not measured: no labelled case is on the test side. Register it again once one is.")

    def _tell(self, progress: Progress) -> None:
        self.stderr.write(f"\rmeasuring: {progress.done} of {progress.total} texts", ending="")
