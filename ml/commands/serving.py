"""Commands that answer with a model folder, or make one of a checkpoint that was trained elsewhere."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from ml import examples
from ml import schema as schemas
from ml.commands import terminal
from ml.registry import ModelFolderError
from ml.serving import Predictor
from ml.types import Example

LINES_AT_ONCE = 512  # Of a stream to predict: enough to sort by length, few enough to answer while reading on


def predict(options: argparse.Namespace) -> int:
    """Answer examples from standard input, one a line; 1 where a line was bad."""
    predictor = Predictor(options.model)
    found = examples.scan(sys.stdin.buffer, predictor.schema)  # As bytes, so that a bad one spoils only its line
    is_good = True
    while part := list(islice(found, LINES_AT_ONCE)):
        for fault in part:
            if isinstance(fault, str):
                is_good = False
                sys.stderr.write(f"error: {fault}\n")
        for line in _predicted(predictor, [item for item in part if isinstance(item, Example)]):
            sys.stdout.write(line + "\n")
        sys.stdout.flush()
    return 0 if is_good else 1


def _predicted(predictor: Predictor, rows: Sequence[Example]) -> Iterator[str]:
    for row, prediction in zip(rows, predictor.predict([row.text for row in rows]), strict=True):
        heads = {key: answer.as_json() for key, answer in prediction.items()}
        yield json.dumps({"id": row.id, "heads": heads}, ensure_ascii=False)


def import_checkpoint(options: argparse.Namespace) -> int:
    """Write the model folder of a published checkpoint."""
    out = options.out or f"{Path(options.folder)}-served"
    if Path(out).exists():
        raise ModelFolderError(f"{out} exists already; models are never overwritten")
    from ml import checkpoint  # noqa: PLC0415 - torch takes seconds, and the other commands do without

    found = checkpoint.read(options.folder, schemas.load(options.schema) if options.schema else None)
    rows = examples.read(options.data, found.schema) if options.data else []
    name = Path(options.data).name if options.data else ""
    manifest = checkpoint.save(found, out, rows=rows, rows_from=name, progress=terminal.show)
    if rows:
        sys.stderr.write("\n")
    terminal.answer({"model": out, **{key: manifest[key] for key in ("imported", "counts", "metrics", "export")}})
    return 0
