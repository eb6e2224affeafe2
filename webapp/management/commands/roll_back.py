"""manage.py roll_back SCHEMA --by ADMIN --reason WORDS"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.actions import promotions
from webapp.errors import CaseloopError
from webapp.management import named
from webapp.queries.schemas import champion


class Command(BaseCommand):
    """Go back to the version before."""

    help = "Leave the version in use for the one that was so before it; workers switch with their next batch."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the schema, who decides, and why."""
        parser.add_argument("schema")
        parser.add_argument("--by", required=True, metavar="ADMIN", help="who decides: the name of an admin")
        parser.add_argument("--reason", required=True, help="why, for the ledger")

    def handle(self, *args: Any, **options: Any) -> None:
        """Go back, or say why not."""
        schema, by = named.schema(options["schema"]), named.admin(options["by"])
        leaving = champion(schema)
        if leaving is None:
            raise CommandError(f"No version of {schema.title} is in use.")
        try:
            row = promotions.roll_back(leaving, by=by, reason=options["reason"])
        except CaseloopError as exc:
            raise CommandError(str(exc)) from exc
        self.stdout.write(f"Version {row.version.number} of {schema.title} is in use again.")
