"""Turn a file of cases into what `python -m ml` reads: `python -m webapp.casefiles FILE --out FILE`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ml import examples, schema
from ml.errors import InputError
from webapp.casefiles import rows
from webapp.casefiles.columns import Columns
from webapp.errors import UnreadableFile

MAX_BYTES = 2**30


def main() -> int:
    """Read the arguments, write the rows that have a text, and tell what is wrong with the others."""
    parser = argparse.ArgumentParser(prog="python -m webapp.casefiles", description="Write cases as Example JSONL.")
    parser.add_argument("file", type=Path, help="a JSONL, JSON, CSV, .xlsx or Parquet file of cases")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    parser.add_argument("--schema", default="helpline", help="name of a shipped schema, or a TOML file")
    arguments = parser.parse_args()
    found = []
    try:
        columns = Columns(schema.load(arguments.schema), {})
        for row in rows.read(arguments.file, max_bytes=MAX_BYTES):
            example, faults = columns.read(row.number, row.values or {}, source=arguments.file.stem)
            found += [example] if example else []
            for message in [row.problem] if row.problem else [fault.message for fault in faults]:
                sys.stderr.write(f"row {row.number}: {message}\n")
        lines = "".join(f"{examples.write(example)}\n" for example in found)
        arguments.out.write_text(lines, encoding="utf-8")
    except (UnreadableFile, InputError) as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 2
    except OSError as exc:
        sys.stderr.write(f"error: {exc.filename}: {exc.strerror}\n")
        return 2
    return 0


sys.exit(main())
