"""manage.py loop_status [--json]"""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from webapp.queries import loop


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
                self.stdout.write(f"  {state:<10} {count:>8}")
        self.stdout.write(f"outbox: {status['outbox']['waiting']} waiting, {status['outbox']['failing']} failing")
        self.stdout.write(
            "webhooks out: {waiting} waiting, {failing} failing, {given_up} given up".format(**status["webhooks"])
        )
