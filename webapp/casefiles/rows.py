"""Rows of a JSONL, JSON or CSV file, one at a time, so that a large file never stands in memory whole."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import ijson

from webapp.errors import UnreadableFile

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv")
MAX_ROWS = 1_000_000
MAX_ROW_CHARACTERS = 1_000_000
MAX_DEPTH = 20
TOO_DEEP = object()


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its number as an editor or spreadsheet shows it, and its values, or what is wrong with it."""

    number: int
    values: dict[str, Any] | None
    problem: str = ""


def read(path: Path, *, max_bytes: int) -> Iterator[Row]:
    """Read the rows of a file by its suffix.

    Raises:
        UnreadableFile: the file is too large, of another kind, or so broken that its rows cannot be told apart.
    """
    size = path.stat().st_size
    if size > max_bytes:
        raise UnreadableFile(f"the file has {size:,} bytes; expected at most {max_bytes:,}: split it")
    readers = {".jsonl": _json_lines, ".ndjson": _json_lines, ".json": _json, ".csv": _csv}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UnreadableFile(f"the file ends in {path.suffix or 'nothing'!r}; expected one of {', '.join(SUFFIXES)}")
    with path.open("rb") as file:
        for count, row in enumerate(reader(file), start=1):
            if count > MAX_ROWS:
                raise UnreadableFile(f"the file has more than {MAX_ROWS:,} rows; split it")
            yield row


def _json_lines(file: IO[bytes]) -> Iterator[Row]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        if len(line) > MAX_ROW_CHARACTERS:
            yield Row(number, None, f"the row has {len(line):,} bytes; expected at most {MAX_ROW_CHARACTERS:,}")
            continue
        try:
            values = json.loads(line.decode("utf-8-sig"))
        except UnicodeDecodeError:
            yield Row(number, None, "the row is not UTF-8 text; save the file as UTF-8")
        except (ValueError, RecursionError) as exc:
            yield Row(number, None, f"the row is not valid JSON: {_reason(exc)}")
        else:
            yield _checked(number, values)


def _json(file: IO[bytes]) -> Iterator[Row]:
    start = file.read(1024)
    first = start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    file.seek(3 if start.startswith(b"\xef\xbb\xbf") else 0)
    if first == b"{":  # Lines of objects under the wrong name are common
        yield from _json_lines(file)
        return
    if first != b"[":
        raise UnreadableFile("the file is not a JSON array; expected [ with one object a case")
    number = 0
    try:
        for number, values in enumerate(_elements(file), start=1):
            yield _checked(number, values)
    except (ijson.JSONError, UnicodeDecodeError) as exc:
        yield Row(
            number + 1, None, f"the file is not valid JSON from here on; the rows before it were read ({_brief(exc)})"
        )


def _elements(file: IO[bytes]) -> Iterator[object]:
    """Build the elements of an array, but not what is nested too deeply: a few kilobytes of [ would fill memory."""
    level = 0
    builder, is_too_deep = ijson.ObjectBuilder(), False
    for event, value in ijson.basic_parse(file, use_float=True):
        level += event in ("start_map", "start_array")
        if (level, event) not in ((1, "start_array"), (1, "end_array")):
            is_too_deep |= level > MAX_DEPTH + 1
            if not is_too_deep:
                builder.event(event, value)
        level -= event in ("end_map", "end_array")
        if level == 1 and event not in ("start_array", "map_key"):
            yield TOO_DEEP if is_too_deep else builder.value
            builder, is_too_deep = ijson.ObjectBuilder(), False


def _csv(file: IO[bytes]) -> Iterator[Row]:
    csv.field_size_limit(MAX_ROW_CHARACTERS)
    lines = (line.decode("utf-8-sig" if number == 0 else "utf-8", errors="strict") for number, line in enumerate(file))
    try:
        reader = csv.DictReader(lines, strict=True)
        columns = reader.fieldnames
        if not columns:
            raise UnreadableFile("the file is empty; expected a first line with the names of the columns")
        for values in reader:
            if None in values:
                extra = len(values[None])
                yield Row(reader.line_num, None, f"the row has {len(columns) + extra} values; expected {len(columns)}")
            else:
                yield _checked(reader.line_num, values)
    except UnicodeDecodeError as exc:
        raise UnreadableFile("the file is not UTF-8 text; save it as CSV UTF-8") from exc
    except csv.Error as exc:
        raise UnreadableFile(f"line {reader.reader.line_num} is not valid CSV: {exc}") from exc


def _checked(number: int, values: object) -> Row:
    if values is TOO_DEEP or depth(values) > MAX_DEPTH:
        return Row(number, None, f"the row is nested more than {MAX_DEPTH} levels deep")
    if not isinstance(values, dict):
        return Row(number, None, f"the row is a JSON {type(values).__name__}; expected an object with named fields")
    return Row(number, values)


def depth(value: object, level: int = 0) -> int:
    """Return how deep a JSON value is nested; what is deeper than MAX_DEPTH is not looked into."""
    if level > MAX_DEPTH or not isinstance(value, dict | list):
        return level
    children = value.values() if isinstance(value, dict) else value
    return max((depth(child, level + 1) for child in children), default=level + 1)


def _reason(exc: Exception) -> str:
    """Name the fault without the text around it, which may be a case's."""
    if isinstance(exc, json.JSONDecodeError):
        return exc.msg
    return "nested too deeply" if isinstance(exc, RecursionError) else "a number has too many digits"


def _brief(exc: Exception) -> str:
    """Name the fault without the text around it, which may be a case's."""
    return type(exc).__name__
