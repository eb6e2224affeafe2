"""Commands that answer with a model folder, or make one of a checkpoint that was trained elsewhere."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from ml import examples
from ml import schema as schemas
from ml.commands import terminal
from ml.commands.conversations import Conversations
from ml.registry import ModelFolderError
from ml.serving import Predictor
from ml.types import Example

LINES_AT_ONCE = 512  # Of a stream to predict: enough to sort by length, few enough to answer while reading on


def predict(options: argparse.Namespace) -> int:
    """Answer examples from standard input, or the conversations that they make; 1 where a line was bad."""
    predictor = Predictor(options.model)
    conversations = Conversations(predictor) if options.conversations else None
    answer = _explained if options.explain else _predicted
    # As bytes, so that a bad one spoils only its line
    found = examples.scan(sys.stdin.buffer, predictor.schema, needs_conversation=options.conversations)
    is_good = True
    while part := list(islice(found, LINES_AT_ONCE)):
        for fault in part:
            if isinstance(fault, str):
                is_good = False
                sys.stderr.write(f"error: {fault}\n")
        rows = [item for item in part if isinstance(item, Example)]
        if conversations:
            conversations.add(rows)
            continue
        for line in answer(predictor, rows):
            terminal.answer(line)
        sys.stdout.flush()
    for line in conversations.tagged() if conversations else ():
        terminal.answer(line)
    return 0 if is_good else 1


def _predicted(predictor: Predictor, rows: Sequence[Example]) -> Iterator[dict[str, Any]]:
    for row, found in zip(rows, predictor.read([row.text for row in rows], most=0), strict=True):
        heads = {key: answer.as_json() for key, answer in found.prediction.items()}
        yield {"id": row.id, "is_familiar": found.is_familiar, "heads": heads}


def _explained(predictor: Predictor, rows: Sequence[Example]) -> Iterator[dict[str, Any]]:
    """Yield what `_predicted` does, with the words that each head looked at."""
    for row, found in zip(rows, predictor.read([row.text for row in rows]), strict=True):
        looked = {key: {"looks": [asdict(look) for look in words]} for key, words in found.looks.items()}
        yield {
            "id": row.id,
            "is_familiar": found.is_familiar,
            "heads": {key: {**one.as_json(), **looked.get(key, {})} for key, one in found.prediction.items()},
        }


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
