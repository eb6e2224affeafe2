"""manage.py ledger SCHEMA [--at TIME] [--json]"""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from webapp.management import named
from webapp.queries import ledger


class Command(BaseCommand):
    """Tell what was in use."""

    help = "Print which version was in use from when to when, by whom and why, the newest first."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the schema, a moment, and the form of the answer."""
        parser.add_argument("schema")
        parser.add_argument("--at", metavar="TIME", help="only what was in use then, such as 2026-03-01T12:00:00+03:00")
        parser.add_argument("--json", action="store_true", help="one JSON object a line, with the gate's report")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the rows."""
        reigns = ledger.reigns(named.schema(options["schema"]))
        if options["at"]:
            try:
                moment = parse_datetime(options["at"])
            except ValueError:
                moment = None
            if moment is None:
                raise CommandError(f"--at is {options['at']!r}; expected a time such as 2026-03-01T12:00:00+03:00")
            if timezone.is_naive(moment):
                moment = timezone.make_aware(moment)
            reigns = [reign for reign in reigns if reign.covers(moment)]
        for reign in reigns:
            self.stdout.write(json.dumps(reign.as_json()) if options["json"] else reign.in_words())
