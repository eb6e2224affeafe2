"""manage.py loop_status [--json]"""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from webapp.models import CaseState
from webapp.queries import clock, loop, wording


class Command(BaseCommand):
    """Tell how the loop stands."""

    help = "Show cases by state, the version in use and what waits to be sent."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the form of the answer."""
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the status."""
        status = loop.status()
        if options["json"]:
            self.stdout.write(json.dumps(status))
            return
        for schema in status["schemas"].values():
            version = schema["champion"]
            self.stdout.write(f"{schema['title']}: version in use {version if version else 'none'}")
            for state, count in schema["cases"].items():
                self.stdout.write(f"  {CaseState(state).label:<16} {count:>8}")
        for name, found in (("Outbox", status["outbox"]), ("Webhooks out", status["webhooks"])):
            said = (f"{sign} {words}".strip() for sign, _style, words in wording.traffic(found))
            self.stdout.write(f"{name}: {', '.join(said)}")
        self.stdout.write(f"At {clock.written(timezone.now())}")
