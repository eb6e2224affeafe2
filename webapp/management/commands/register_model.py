"""manage.py register_model DIR"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.actions import registrations
from webapp.errors import CaseloopError


class Command(BaseCommand):
    """Take in a model that was made elsewhere."""

    help = "Register a model folder, such as import-checkpoint writes, as a version that an admin can put in use."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the folder."""
        parser.add_argument("folder", type=Path)

    def handle(self, *args: Any, **options: Any) -> None:
        """Register it."""
        try:
            version = registrations.register(options["folder"])
        except CaseloopError as exc:
            raise CommandError(str(exc)) from exc
        self.stdout.write(f"{version} of {version.schema.title} is registered; put it in use on the page Models.")
