"""Spreadsheets and Parquet: the same rows as from other files, and no more memory than they are worth."""

from __future__ import annotations

import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import openpyxl
import openpyxl.xml
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from webapp.casefiles import rows, tables
from webapp.casefiles.rows import Row
from webapp.errors import UnreadableFile

SHEET = "xl/worksheets/sheet1.xml"
SPANS = [{"start": 0, "end": 3, "label": "NAME"}]


def read(path: Path) -> list[Row]:
    return list(rows.read(path, max_bytes=10_000_000))


def sheet(folder: Path, *lines: list[Any]) -> Path:
    book = openpyxl.Workbook()
    for line in lines:
        book.active.append(line)
    book.save(folder / "cases.xlsx")
    return folder / "cases.xlsx"


def parquet(folder: Path, values: dict[str, Any]) -> Path:
    pq.write_table(pa.table(values), folder / "cases.parquet")
    return folder / "cases.parquet"


def test_a_spreadsheet_is_read_by_its_first_row(tmp_path) -> None:
    day = datetime(2026, 3, 1, 12, 30)  # noqa: DTZ001 - spreadsheets know no zones
    path = sheet(
        tmp_path, ["id", "text", "priority", None, "sent_at"], [17, "She is hungry.", 1.0, True, day], [], [None, "b"]
    )
    assert read(path) == [
        Row(2, {"id": 17, "text": "She is hungry.", "priority": 1, "column 4": True, "sent_at": "2026-03-01T12:30:00"}),
        Row(4, {"id": None, "text": "b"}),
    ]


def test_what_a_formula_gave_is_read_and_not_the_formula(tmp_path) -> None:
    (row,) = read(sheet(tmp_path, ["text", "a"], ["b", "=1+1"]))
    assert row.values == {"text": "b"}, "openpyxl computes nothing, so that it gave nothing yet"


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([["text"], ["a", "beyond"]], "the row has a value beyond the 1 columns that the first row names"),
        ([["text"], ["a" * 30_000, "a"]], "the row has a value beyond the 1 columns that the first row names"),
    ],
)
def test_a_row_of_a_sheet_that_cannot_be_read_says_why(tmp_path, lines, problem) -> None:
    assert read(sheet(tmp_path, *lines)) == [Row(2, None, problem)]


def test_a_row_that_is_too_long_is_left_out(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(rows, "MAX_ROW_CHARACTERS", 10)
    expected = [Row(2, None, "the row has more than 10 characters; shorten it"), Row(3, {"text": "b"})]
    assert read(sheet(tmp_path, ["text"], ["a" * 11], ["b"])) == expected
    found = read(parquet(tmp_path, {"text": ["a" * 11, "b"]}))
    assert [(row.problem, row.values) for row in found] == [(expected[0].problem, None), ("", {"text": "b"})]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([["text", "text"], ["a", "b"]], "the first line names the column 'text' twice"),
        ([["text"]], "the file has no rows; expected one case a row"),
        ([], "the file has no rows; expected one case a row"),
    ],
)
def test_a_sheet_that_cannot_be_read_says_why(tmp_path, lines, message) -> None:
    with pytest.raises(UnreadableFile, match=f"^{message}"):
        read(sheet(tmp_path, *lines))


def test_a_sheet_with_too_many_rows_is_refused_before_they_are_walked(tmp_path) -> None:
    path = sheet(tmp_path, ["text"], ["a"])
    rewrite(path, SHEET, lambda xml: xml.replace(b'r="2"', b'r="2000000000"'))
    with pytest.raises(UnreadableFile, match="the sheet has more than 1,000,000 rows; split it"):
        read(path)


def test_a_sheet_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch) -> None:
    path = sheet(tmp_path, ["text"], ["a" * 5000])
    with zipfile.ZipFile(path, "a") as packed:
        packed.writestr(tables.SHARED, b" " * 5000)
    monkeypatch.setattr(tables, "MAX_SHARED_BYTES", 4000)
    with pytest.raises(UnreadableFile, match="the texts of the spreadsheet are too long together"):
        read(path)
    monkeypatch.setattr(tables, "MAX_UNPACKED_BYTES", 4000)
    with pytest.raises(UnreadableFile, match="the file unpacks to more than 4,000 bytes; split it"):
        read(path)


def test_entities_of_xml_are_not_expanded(tmp_path) -> None:
    assert openpyxl.DEFUSEDXML
    path = sheet(tmp_path, ["text"], ["a"])
    bomb = b'<!DOCTYPE worksheet [<!ENTITY a "aaaaaaaaaa">]>'
    rewrite(path, SHEET, lambda xml: bomb + xml.replace(b"<t>a</t>", b"<t>&a;</t>"))
    with pytest.raises(UnreadableFile, match=f"^{tables.NO_SHEET}$"):
        read(path)


def test_rows_beyond_the_size_that_a_sheet_claims_are_read(tmp_path) -> None:
    path = sheet(tmp_path, ["id", "text"], [1, "a"], [2, "b"])
    rewrite(path, SHEET, lambda xml: xml.replace(b'ref="A1:B3"', b'ref="A1"'))
    assert [row.values for row in read(path)] == [{"id": 1, "text": "a"}, {"id": 2, "text": "b"}]


@pytest.mark.parametrize("content", [b"", b"PK", b"id,text\n1,a\n", b"PK\x05\x06" + b"\0" * 18])
@pytest.mark.parametrize(("name", "message"), [("a.xlsx", tables.NO_SHEET), ("a.parquet", tables.NO_PARQUET)])
def test_a_file_under_the_wrong_name_is_refused(tmp_path, content, name, message) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableFile, match=f"^{message}$"):
        read(tmp_path / name)


def test_parquet_is_read_with_its_lists_and_times(tmp_path) -> None:
    path = parquet(
        tmp_path,
        {
            "id": [1.0, 2.0],
            "text": ["She is hungry.", "b"],
            "intervention": [["Counselling", "Referral"], None],
            "entities": [SPANS, []],
            "sent_at": [datetime(2026, 3, 1, 12, tzinfo=UTC), None],
            "raw": [b"bytes", None],
        },
    )
    assert read(path) == [
        Row(
            1,
            {
                "id": 1,
                "text": "She is hungry.",
                "intervention": ["Counselling", "Referral"],
                "entities": SPANS,
                "sent_at": "2026-03-01T12:00:00+00:00",
                "raw": "bytes",
            },
        ),
        Row(2, {"id": 2, "text": "b", "intervention": None, "entities": [], "sent_at": None, "raw": None}),
    ]


def test_parquet_that_unpacks_to_too_much_or_names_a_column_twice_is_refused(tmp_path, monkeypatch) -> None:
    twice = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    pq.write_table(twice, tmp_path / "twice.parquet")
    with pytest.raises(UnreadableFile, match="the file names a column twice"):
        read(tmp_path / "twice.parquet")
    monkeypatch.setattr(tables, "MAX_UNPACKED_BYTES", 10)
    with pytest.raises(UnreadableFile, match="the file unpacks to more than 10 bytes; split it"):
        read(parquet(tmp_path, {"text": ["a" * 100]}))


def rewrite(path: Path, name: str, change: Any) -> None:
    with zipfile.ZipFile(path) as packed:
        parts = {part: packed.read(part) for part in packed.namelist()}
    with zipfile.ZipFile(path, "w") as packed:
        for part, content in parts.items():
            changed = change(content) if part == name else content
            assert part != name or changed != content
            packed.writestr(part, changed)
