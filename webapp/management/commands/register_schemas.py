"""manage.py register_schemas"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from webapp.actions import schemas


class Command(BaseCommand):
    """Make the shipped label schemas known to the database."""

    help = "Register the label schemas that come with Caseloop; those that are known already stay as they are."

    def handle(self, *args: Any, **options: Any) -> None:
        """Register them."""
        for version in schemas.register_shipped():
            self.stdout.write(f"{version}: {version.schema.title}")
