"""manage.py add_person NAME --role ROLE --email EMAIL"""

from __future__ import annotations

import secrets
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.actions import audit, people
from webapp.errors import NotAddable
from webapp.roles import Role


class Command(BaseCommand):
    """Give somebody a way in."""

    help = "Add a person with a generated password, which is printed once."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take who it is."""
        parser.add_argument("name")
        parser.add_argument("--role", required=True, choices=[role.value for role in Role])
        parser.add_argument("--email", required=True, help="links them with their user in Label Studio")

    def handle(self, *args: Any, **options: Any) -> None:
        """Add the person."""
        password = secrets.token_urlsafe(12)
        try:
            user = people.create(options["name"], email=options["email"], password=password, role=Role(options["role"]))
        except NotAddable as exc:
            raise CommandError(str(exc)) from exc
        audit.record(None, "person added", f"person {user.pk}", role=options["role"])
        self.stdout.write(f"{options['name']} {password}")
