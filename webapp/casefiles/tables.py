"""Rows of the two kinds of file that are no text: spreadsheets and Parquet. Both are read as streams.

Both are compressed, so what they hold is bounded by what they unpack to. Their libraries are loaded when one is read:
web processes only name the kinds.
"""

# ruff: noqa: PLC0415

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from datetime import date, datetime, time
from typing import IO, Any

from webapp.errors import UnreadableFile

MAX_UNPACKED_BYTES = 4 * 2**30
MAX_SHARED_BYTES = 400 * 2**20  # A spreadsheet keeps its different texts in one part, which stands in memory
SHARED = "xl/sharedStrings.xml"
BATCH = 100  # Rows of Parquet that stand in memory at once; each may have a million characters
NO_SHEET = "the file is no spreadsheet that can be read; save it again as .xlsx, or as CSV UTF-8"
NO_PARQUET = "the file is no Parquet file that can be read; write it again"


def sheet(file: IO[bytes], *, most_rows: int) -> Iterator[tuple[int, list[Any]]]:
    """Read the rows of the first sheet that hold anything, each with its number; formulas by what they last gave.

    Raises:
        UnreadableFile: it is no spreadsheet, unpacks to too much, or has too many rows, empty ones among them.
    """
    import openpyxl  # Through defusedxml, since that is installed

    _refuse_bombs(file)
    try:
        book = openpyxl.load_workbook(file, read_only=True, data_only=True)
        found = book.worksheets[0]
        found.reset_dimensions()  # Many programs write them wrong, and rows beyond them would be passed over
        for number, cells in enumerate(found.iter_rows(values_only=True), start=1):
            if number > most_rows + 1:
                raise UnreadableFile(f"the sheet has more than {most_rows:,} rows; split it")  # noqa: TRY301
            values = [_plain(cell) for cell in cells]
            while values and values[-1] is None:
                values.pop()
            if values:
                yield number, values
    except UnreadableFile:
        raise
    except Exception as exc:  # Of whatever kind: openpyxl checks little, and what it says may quote a cell
        raise UnreadableFile(NO_SHEET) from exc


def parquet(file: IO[bytes]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Read rows by column, each with its number.

    Raises:
        UnreadableFile: it is no Parquet, unpacks to too much, or names a column twice.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        found = pq.ParquetFile(file)
        groups = (found.metadata.row_group(place) for place in range(found.metadata.num_row_groups))
        if sum(group.total_byte_size for group in groups) > MAX_UNPACKED_BYTES:
            raise UnreadableFile(_too_much())
        names = found.schema_arrow.names
        if len(set(names)) < len(names):
            raise UnreadableFile("the file names a column twice; expected each name once: rename one")
        for batch in found.iter_batches(batch_size=BATCH):
            for values in batch.to_pylist():
                number += 1
                yield number, {name: _plain(value) for name, value in values.items()}
    except (pa.ArrowException, OSError, UnicodeDecodeError) as exc:
        raise UnreadableFile(NO_PARQUET) from exc


def _refuse_bombs(file: IO[bytes]) -> None:
    try:
        with zipfile.ZipFile(file) as packed:
            sizes = {part.filename: part.file_size for part in packed.infolist()}  # No more than that is unpacked
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as exc:
        raise UnreadableFile(NO_SHEET) from exc
    file.seek(0)
    if sum(sizes.values()) > MAX_UNPACKED_BYTES:
        raise UnreadableFile(_too_much())
    if sizes.get(SHARED, 0) > MAX_SHARED_BYTES:
        raise UnreadableFile("the texts of the spreadsheet are too long together; split it, or save it as CSV UTF-8")


def _too_much() -> str:
    return f"the file unpacks to more than {MAX_UNPACKED_BYTES:,} bytes; split it"


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: times as ISO 8601, whole numbers whole, bytes as the text they are."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if value is None or isinstance(value, str | int | float) else str(value)
