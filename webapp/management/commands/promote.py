"""manage.py promote SCHEMA NUMBER --by ADMIN --reason WORDS [--override]"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.actions import promotions
from webapp.errors import CaseloopError
from webapp.management import named
from webapp.models import ModelKind


class Command(BaseCommand):
    """Put a version in use."""

    help = "Put a trained version in use; what the gate says of it is printed, and kept in the ledger."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the version, who decides, and why."""
        parser.add_argument("schema")
        parser.add_argument("number", type=int)
        parser.add_argument("--by", required=True, metavar="ADMIN", help="who decides: the name of an admin")
        parser.add_argument("--reason", required=True, help="why, for the ledger")
        parser.add_argument("--override", action="store_true", help="also where the gate refuses")

    def handle(self, *args: Any, **options: Any) -> None:
        """Promote it, or say why not."""
        schema, by = named.schema(options["schema"]), named.admin(options["by"])
        version = schema.model_versions.filter(kind=ModelKind.TRAINED, number=options["number"]).first()
        if version is None:
            raise CommandError(f"{schema.title} has no version {options['number']}")
        try:
            row = promotions.promote(version, by=by, reason=options["reason"], override=options["override"])
        except CaseloopError as exc:
            raise CommandError(str(exc)) from exc
        self.stdout.write(row.report["gate"]["sentence"])
        self.stdout.write(f"Version {version.number} of {schema.title} is in use.")
