"""manage.py erase_case CASE --reason WORDS --by ADMIN --confirm EXTERNAL_ID"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.actions import erasing
from webapp.errors import CaseloopError
from webapp.management import named
from webapp.models import Case


class Command(BaseCommand):
    """Erase a case."""

    help = "Erase the text of a case and all that was written about it, everywhere and for ever."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the case, why, and who says so."""
        parser.add_argument("case", type=int, help="its number, as in the address of its page")
        parser.add_argument("--reason", required=True, help="kept in the log; without names")
        parser.add_argument("--by", required=True, help="the admin on whose word it is done")
        parser.add_argument("--confirm", required=True, help="the id that the case came with")

    def handle(self, *args: Any, **options: Any) -> None:
        """Erase it."""
        by = named.admin(options["by"])
        case = Case.objects.filter(pk=options["case"]).first()
        if case is None:
            raise CommandError(f"there is no case {options['case']}")
        try:
            erasing.erase(case, by=by, reason=options["reason"], confirmation=options["confirm"])
        except CaseloopError as exc:
            raise CommandError(str(exc)) from exc
        self.stdout.write(f"Case {case.pk} is erased.")
