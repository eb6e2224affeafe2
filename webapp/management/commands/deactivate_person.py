"""manage.py deactivate_person NAME"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.actions import people


class Command(BaseCommand):
    """End somebody's access."""

    help = "Deactivate a person, also in the embedded Label Studio. The page People lets them in again."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take who it is."""
        parser.add_argument("name")

    def handle(self, *args: Any, **options: Any) -> None:
        """Deactivate the person."""
        user = User.objects.filter(username=options["name"]).first()
        if user is None:
            raise CommandError(f"there is no person called {options['name']!r}")
        people.deactivate(user, by=None)
        self.stdout.write(f"{options['name']} is deactivated.")
        if settings.LABEL_STUDIO_URL and not settings.LABEL_STUDIO_IS_EMBEDDED:
            self.stdout.write(f"Their access to {settings.LABEL_STUDIO_URL} has to be ended there.")
