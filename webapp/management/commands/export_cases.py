"""manage.py export_cases FILE --by ADMIN [--schema NAME] [--format label-studio]"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.actions import exports
from webapp.management import named


class Command(BaseCommand):
    """Write the cases of a schema to a file."""

    help = (
        "Export cases with their annotations and annotators. The file holds the texts; the audit log says who took it."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take where to write, of which schema, and who asks."""
        parser.add_argument("file", type=Path)
        parser.add_argument("--by", required=True, metavar="ADMIN", help="who takes the file: the name of an admin")
        parser.add_argument("--schema", default="helpline", help="label schema (default: helpline)")
        parser.add_argument("--format", choices=exports.FORMATS, default=exports.LABEL_STUDIO)

    def handle(self, *args: Any, **options: Any) -> None:
        """Write a file that nobody else may read."""
        user = named.admin(options["by"])
        schema = named.schema(options["schema"])
        try:
            descriptor = os.open(options["file"], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as exc:
            raise CommandError(f"{options['file']} cannot be written: {exc.strerror}") from exc
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            lines = exports.lines(schema, by=user, format=options["format"])
            written = sum(file.write(f"{line}\n") > 0 for line in lines)
        self.stdout.write(f"{written - 2} cases written to {options['file']}")  # Brackets have a line each
