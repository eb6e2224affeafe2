"""Rows of a file of cases, of whatever kind, one at a time, so that a large file never stands in memory whole."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import ijson

from annotate import files
from webapp.casefiles import encoding, tables
from webapp.errors import UnreadableFile

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".xlsx", ".parquet")
BINARY = (".xlsx", ".parquet")
MAX_ROWS = 1_000_000
MAX_ROW_CHARACTERS = 1_000_000  # More than of a text: labels stand beside it, and JSON may escape every character
MAX_TEXT_CHARACTERS = 200_000  # A call of some hours; predicting one takes memory in proportion, so 0.7 GB
MAX_DEPTH = 20
TOO_DEEP = object()
SEPARATORS = (",", ";", "\t")  # Of columns; the first counts where others part a line as often
NOT_UTF_8 = "the row is not UTF-8; the rest of the file was read: save the file as UTF-8 and import it again"
KINDS = {  # As messages call them
    dict: "an object",
    list: "a list",
    str: "a text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its number as an editor or spreadsheet shows it, and its values, or what is wrong with it.

    A task of a Label Studio export has its data for values, and its annotations beside them.
    """

    number: int
    values: dict[str, Any] | None
    problem: str = ""
    annotations: tuple[Any, ...] = ()


def read(path: Path, *, max_bytes: int) -> Iterator[Row]:
    """Read the rows of a file by its suffix.

    Raises:
        UnreadableFile: the file is too large, of another kind, or so broken that its rows cannot be told apart.
    """
    size = path.stat().st_size
    if size > max_bytes:
        raise UnreadableFile(f"the file has {size:,} bytes; expected at most {max_bytes:,}: split it")
    suffix = path.suffix.lower()
    reader = {
        ".jsonl": _json_lines,
        ".ndjson": _json_lines,
        ".json": _json,
        ".csv": _csv,
        ".xlsx": _sheet,
        ".parquet": _parquet,
    }.get(suffix)
    if reader is None:
        raise UnreadableFile(f"the file ends in {path.suffix or 'nothing'!r}; expected one of {', '.join(SUFFIXES)}")
    with path.open("rb") as file:
        if suffix not in BINARY:
            encoding.refuse_others(file)
        count = 0
        for count, row in enumerate(reader(file), start=1):
            if count > MAX_ROWS:
                raise UnreadableFile(f"the file has more than {MAX_ROWS:,} rows; split it")
            yield row
    if not count:
        raise UnreadableFile("the file has no rows; expected one case a row")


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
            yield Row(number, None, NOT_UTF_8)
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
    # Bytes that are not UTF-8 become halves of characters, so that only their row is lost
    lines = (line.decode("utf-8" if number else "utf-8-sig", "surrogateescape") for number, line in enumerate(file))
    reader = csv.reader(lines, strict=True)
    try:
        reader = csv.reader(lines, delimiter=_separator(file), strict=True)
        columns = _column_names(next((names for names in reader if any(names)), []))
        for values in reader:
            if values:
                yield _csv_row(reader.line_num, columns, values)
    except csv.Error as exc:
        if "new-line" in str(exc):
            fault = "ends in CR alone, as on old Macs; save it as CSV UTF-8"
        elif "field limit" in str(exc):
            fault = f"has a value of more than {MAX_ROW_CHARACTERS:,} characters; shorten it, or close its quotes"
        else:
            fault = f"is not valid CSV: {exc}; mend its quotes or those before it"
        raise UnreadableFile(f"line {max(1, reader.line_num)} {fault}, and import the file again") from exc


def _separator(file: IO[bytes]) -> str:
    """Return what parts the first line that holds anything into the most columns; a comma where nothing does."""
    line = ""
    while not line.strip() and (found := file.readline(MAX_ROW_CHARACTERS)):
        line = found.decode("utf-8-sig", "replace")
    file.seek(0)
    return max(SEPARATORS, key=lambda separator: len(next(csv.reader([line], delimiter=separator), [])))


def _sheet(file: IO[bytes]) -> Iterator[Row]:
    lines = tables.sheet(file, most_rows=MAX_ROWS)
    columns = _names_once([str(name or "") for name in next(lines, (0, []))[1]])
    for number, values in lines:
        beyond = any(value is not None for value in values[len(columns) :])
        if sum(len(value) for value in values if isinstance(value, str)) > MAX_ROW_CHARACTERS:
            yield Row(number, None, f"the row has more than {MAX_ROW_CHARACTERS:,} characters; shorten it")
        elif beyond:
            yield Row(number, None, f"the row has a value beyond the {len(columns)} columns that the first row names")
        else:
            yield Row(number, dict(zip(columns, values, strict=False)))


def _parquet(file: IO[bytes]) -> Iterator[Row]:
    for number, values in tables.parquet(file):
        if sum(len(value) for value in values.values() if isinstance(value, str)) > MAX_ROW_CHARACTERS:
            yield Row(number, None, f"the row has more than {MAX_ROW_CHARACTERS:,} characters; shorten it")
        else:
            yield _checked(number, values)


def _column_names(found: list[str]) -> list[str]:
    """Return the names of the columns of a CSV file."""
    if not found:
        raise UnreadableFile("the file is empty; expected a first line with the names of the columns")
    if not _is_utf_8(found):
        raise UnreadableFile(f"the first line is not UTF-8; expected the names of the columns: {encoding.REMEDY}")
    return _names_once(found)


def _names_once(found: list[str]) -> list[str]:
    """Return the names of columns, each once; one without a name is known by its place."""
    twice = next((name for number, name in enumerate(found) if name and name in found[:number]), None)
    if twice:
        raise UnreadableFile(f"the first line names the column {twice!r} twice; expected each name once: rename one")
    return [name or f"column {number}" for number, name in enumerate(found, start=1)]


def _csv_row(number: int, columns: list[str], values: list[str]) -> Row:
    if not _is_utf_8(values):
        return Row(number, None, NOT_UTF_8)
    if len(values) != len(columns):  # One that is short may be half of a text that was not quoted
        return Row(number, None, f"the row has {len(values)} values; expected {len(columns)}, as the first line has")
    return Row(number, dict(zip(columns, values, strict=True)))


def _is_utf_8(values: list[str]) -> bool:
    try:
        "".join(values).encode()
    except UnicodeEncodeError:
        return False
    return True


def _checked(number: int, values: object) -> Row:
    if values is TOO_DEEP or depth(values) > MAX_DEPTH:
        return Row(number, None, f"the row is nested more than {MAX_DEPTH} levels deep")
    if not isinstance(values, dict):
        return Row(number, None, f"the row is {KINDS[type(values)]}; expected an object with named fields")
    if files.is_task(values):
        return Row(number, values["data"], annotations=tuple(values["annotations"]))
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
    is_encoding = isinstance(exc, UnicodeDecodeError) or "bytes in UTF8" in str(exc)
    return "it is not UTF-8" if is_encoding else type(exc).__name__
