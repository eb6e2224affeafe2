"""manage.py import_cases FILE [--schema NAME] [--map COLUMN=FIELD ...]"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ml.errors import InputError
from webapp import tasks
from webapp.actions import imports, schemas
from webapp.casefiles.columns import parse_mapping
from webapp.casefiles.report import Report
from webapp.errors import CaseloopError
from webapp.locks import only_one
from webapp.models import Schema

SHOWN = 20


class Command(BaseCommand):
    """Import a file of cases, and have them predicted."""

    help = (
        "Import cases from JSONL, JSON, CSV, .xlsx, Parquet or a Label Studio export. "
        "A repeat of the same file changes nothing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the file, the schema, and how its columns are to be read."""
        parser.add_argument("file", type=Path)
        parser.add_argument("--schema", default="helpline", help="label schema (default: helpline)")
        parser.add_argument("--source", default=imports.DEFAULT_SOURCE, help="source of rows that name none")
        parser.add_argument("--map", action="append", default=[], metavar="COLUMN=FIELD", help="FIELD - leaves it out")
        parser.add_argument("--preview", action="store_true", help="report what would be imported; write nothing")
        parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter

    def handle(self, *args: Any, **options: Any) -> None:
        """Import, report, and ask the worker for predictions."""
        path: Path = options["file"]
        if not path.is_file():
            raise CommandError(f"{path} is not a file")
        try:
            schemas.register_shipped()
        except InputError as exc:
            raise CommandError(str(exc)) from exc
        schema = Schema.objects.filter(name=options["schema"]).first()
        if schema is None:
            known = ", ".join(Schema.objects.values_list("name", flat=True))
            raise CommandError(f"schema is {options['schema']!r}; expected one of {known}")
        try:
            given: Any = {"name": path.name, "mapping": parse_mapping(options["map"]), "source": options["source"]}
            if options["preview"]:
                report = imports.preview(imports.unsaved(schema, **given), path)
            else:
                row = imports.open_import(schema, path, by=None, **given)
                with only_one(f"import {row.pk}"):  # The sweep takes it for one that was left behind otherwise
                    report = imports.apply(row, path)
        except (CaseloopError, OSError) as exc:
            raise CommandError(str(exc)) from exc
        self._show(report)
        if report.new:
            tasks.predict_cases.delay(schema.pk)

    def _show(self, report: Report) -> None:
        for warning in report.warnings:
            self.stderr.write(f"Warning: {warning}")
        for number, before in report.repeats[:SHOWN]:
            self.stderr.write(f"Row {number}: repeated in this file, as row {before}")
        if report.repeated > SHOWN:
            self.stderr.write(f"... and {report.repeated - SHOWN} more that are repeated")
        for fault in report.faults[:SHOWN]:
            self.stderr.write(f"Row {fault['row']}: {fault['message']}")
        if report.faults_in_all > SHOWN:
            self.stderr.write(f"... and {report.faults_in_all - SHOWN} more")
        for column, name in report.columns.items():
            self.stdout.write(f"column {column}: {name}")
        self.stdout.write(
            f"{report.rows} rows: {report.new} new, {report.relabelled} with new labels, "
            f"{report.unchanged} unchanged, {report.refused} left out; {report.faulty} with faults"
        )
