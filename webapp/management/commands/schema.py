"""manage.py schema apply FILE [--yes] [--reason WORDS]"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ml import schema
from ml.schema import SchemaError
from webapp.actions import succession
from webapp.errors import CaseloopError
from webapp.queries.succession import preview


class Command(BaseCommand):
    """Put a new version of a schema in the place of the one before."""

    help = "Show what a new version of a schema changes and what that touches; with --yes, apply it."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the file."""
        parser.add_argument("act", choices=["apply"])
        parser.add_argument("file", type=Path, help="the schema as a TOML file, with a higher version number")
        parser.add_argument("--yes", action="store_true", help="apply it; without, nothing is changed")
        parser.add_argument("--reason", default="", help="why, for the audit log")

    def handle(self, *args: Any, **options: Any) -> None:
        """Preview, or apply."""
        try:
            parsed = schema.load(str(options["file"]))
            found = preview(parsed)
            for line in found.lines:
                there = f", {line.in_label_studio} in Label Studio" if line.in_label_studio else ""
                self.stdout.write(f"{line.words} ({line.labels} labels of {line.cases} cases{there})")
            if not found.lines:
                self.stdout.write("no label or head changes")
            if not options["yes"]:
                self.stdout.write("Nothing is changed yet; --yes applies it.")
                return
            done = succession.apply(parsed, by=None, reason=options["reason"])
        except (CaseloopError, SchemaError) as exc:
            raise CommandError(str(exc)) from exc
        self.stdout.write(
            f"{done.version} is in use. {done.translated} cases translated; "
            f"{done.asked_again} go back to annotators, since their label went away."
        )
