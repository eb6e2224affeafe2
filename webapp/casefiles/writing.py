"""Files of cases as other programs read them: JSONL, CSV, Parquet, and a folder that Hugging Face `datasets` loads.

All are written chunk by chunk. The columns are those that an import recognises, so what was written can be read again.
"""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ml import examples
from ml.policy import Side
from ml.schema import Head, Kind, Schema
from ml.types import Example

COLUMNS = ("id", "source", "conversation", "sent_at", "text")
SPAN = pa.struct([("start", pa.int32()), ("end", pa.int32()), ("label", pa.string())])
TYPES = {Kind.CHOICE: pa.string(), Kind.CHOICES: pa.list_(pa.string()), Kind.SPANS: pa.list_(SPAN)}
FEATURES: dict[Kind, dict[str, Any]] = {  # The same as `datasets` calls them
    Kind.CHOICE: {"dtype": "string"},
    Kind.CHOICES: {"list": "string"},
    Kind.SPANS: {
        "list": [
            {"name": "start", "dtype": "int32"},
            {"name": "end", "dtype": "int32"},
            {"name": "label", "dtype": "string"},
        ]
    },
}
TEXT = {"dtype": "string"}
FORMULA = ("=", "+", "-", "@")


@dataclass(frozen=True, slots=True)
class Written:
    """One case, and the side that it is on for ever."""

    example: Example
    side: Side


def jsonl(path: Path, schema: Schema, chunks: Iterable[Sequence[Written]]) -> None:
    """Write one example a line."""
    with path.open("w", encoding="utf-8") as file:
        for chunk in chunks:
            file.writelines(f"{examples.write(one.example)}\n" for one in chunk)


def as_csv(path: Path, schema: Schema, chunks: Iterable[Sequence[Written]]) -> None:
    """Write one row a case. An apostrophe stands before what a spreadsheet would take for a formula."""
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([_harmless(name) for name in (*COLUMNS, *schema.by_key, "metadata")])
        for chunk in chunks:
            for one in chunk:
                writer.writerow([_harmless(_cell(value)) for value in _values(schema, one.example).values()])


def parquet(path: Path, schema: Schema, chunks: Iterable[Sequence[Written]]) -> None:
    """Write one row a case, with lists and spans as such and the rest as texts."""
    with pq.ParquetWriter(path, _fields(schema)) as writer:
        for chunk in chunks:
            writer.write_table(_table(schema, chunk))


def dataset(path: Path, schema: Schema, chunks: Iterable[Sequence[Written]]) -> None:
    """Write a zipped folder: one Parquet file for each side, and a card that says what is in it."""
    parts = {side: path.with_name(f"{path.name}.{side.value}") for side in Side}
    counts = dict.fromkeys(Side, 0)
    try:
        with ExitStack() as stack:
            writers: dict[Side, pq.ParquetWriter] = {}
            for chunk in chunks:
                for side in Side:
                    if rows := [one for one in chunk if one.side == side]:
                        if side not in writers:
                            writers[side] = stack.enter_context(pq.ParquetWriter(parts[side], _fields(schema)))
                        writers[side].write_table(_table(schema, rows))
                        counts[side] += len(rows)
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("README.md", card(schema, counts))
            for side in Side:
                if counts[side]:
                    file.write(parts[side], f"data/{side.value}.parquet")
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


def card(schema: Schema, counts: dict[Side, int]) -> str:
    """Return the README of a dataset; what `datasets` reads of it stands first, as JSON, which is YAML too."""
    kinds = {Kind.SPANS: "token-classification"}
    features = [
        *({"name": name, **TEXT} for name in COLUMNS),
        *({"name": head.key, **FEATURES.get(head.kind, TEXT)} for head in schema.heads),
        {"name": "metadata", **TEXT},
    ]
    files = [{"split": side.value, "path": f"data/{side.value}.parquet"} for side in Side if counts[side]]
    about = {
        "pretty_name": schema.title,
        "task_categories": sorted({kinds.get(head.kind, "text-classification") for head in schema.heads}),
        "configs": [{"config_name": "default", "data_files": files}],
        "dataset_info": {"config_name": "default", "features": features},
    }
    lines = [f"- `{head.key}` ({head.kind.value}): {head.question}" for head in schema.heads]
    rows = ", ".join(f"{count} for {side.value}" for side, count in counts.items())
    return "\n".join(
        [
            "---",
            json.dumps(about, indent=2, ensure_ascii=False),
            "---",
            f"# {schema.title}",
            "",
            f"Cases with their texts and the labels that stand, by Caseloop: {rows}. A head without a label is null.",
            "Rubrics and metadata are JSON. Spans count characters of the text. Keep it where such texts may be kept.",
            "",
            *lines,
            "",
        ]
    )


WRITERS = {"jsonl": jsonl, "csv": as_csv, "parquet": parquet, "dataset": dataset}  # By models.ExportFormat


def _values(schema: Schema, example: Example) -> dict[str, Any]:
    values: dict[str, Any] = {name: getattr(example, name) or None for name in COLUMNS}
    for head in schema.heads:
        answer = example.labels.get(head.key)
        is_plain = answer is None or head.kind in TYPES
        values[head.key] = answer if is_plain else json.dumps(answer, ensure_ascii=False)
    values["metadata"] = json.dumps(dict(example.metadata), ensure_ascii=False) if example.metadata else None
    return values


def _cell(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value) if not any("," in item for item in value) else "\n".join(value)
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _harmless(cell: str) -> str:
    is_risky = cell.startswith(FORMULA) or (cell and ord(cell[0]) < 32)
    return f"'{cell}" if is_risky else cell


def _fields(schema: Schema) -> pa.Schema:
    heads: Iterator[tuple[str, pa.DataType]] = ((head.key, _type(head)) for head in schema.heads)
    return pa.schema([*((name, pa.string()) for name in COLUMNS), *heads, ("metadata", pa.string())])


def _type(head: Head) -> pa.DataType:
    return TYPES.get(head.kind, pa.string())


def _table(schema: Schema, rows: Sequence[Written]) -> pa.Table:
    return pa.Table.from_pylist([_values(schema, one.example) for one in rows], schema=_fields(schema))
