"""What the tests of imports share: a labelled row, and the import of a file."""

from __future__ import annotations

from pathlib import Path

from webapp.actions import imports
from webapp.casefiles.report import Report
from webapp.models import Schema

LABELLED = {
    "id": "1",
    "text": "A neighbour leaves her baby alone.",
    "main_category": "VANE",
    "category": "Neglect",
    "priority": "1",
}


def import_file(path: Path, schema: Schema, *, mapping: dict[str, str] | None = None) -> Report:
    row = imports.open_import(schema, path, name=path.name, mapping=mapping or {}, source="import", by=None)
    return imports.apply(row, path)
