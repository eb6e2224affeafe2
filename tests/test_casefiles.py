"""Files of cases as people have them, well-formed and hostile."""

from __future__ import annotations

from pathlib import Path

import pytest

from webapp.casefiles import encoding, rows
from webapp.casefiles.rows import Row
from webapp.errors import UnreadableFile

BOM = b"\xef\xbb\xbf"


def rows_of(folder: Path, name: str, content: bytes, *, max_bytes: int = 10_000_000) -> list[Row]:
    path = folder / name
    path.write_bytes(content)
    return list(rows.read(path, max_bytes=max_bytes))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", b'{"id": "1", "text": "Hello"}\n{"id": "2", "text": "Habari"}\n'),
        ("a.ndjson", b'{"id": "1", "text": "Hello"}\r\n{"id": "2", "text": "Habari"}'),
        ("a.json", b'[{"id": "1", "text": "Hello"}, {"id": "2", "text": "Habari"}]'),
        ("a.json", b'{"id": "1", "text": "Hello"}\n{"id": "2", "text": "Habari"}\n'),
        ("a.csv", b"id,text\n1,Hello\n2,Habari\n"),
        ("A.CSV", b'id,text\r\n1,Hello\r\n2,"Habari"\r\n'),
    ],
    ids=["JSON lines", "other suffix and CRLF", "JSON array", "lines under the name of an array", "CSV", "CSV CRLF"],
)
@pytest.mark.parametrize("start", [b"", BOM], ids=["bare", "with a byte order mark"])
def test_the_same_rows_are_read_from_every_kind_of_file(tmp_path, name, content, start) -> None:
    found = [row.values for row in rows_of(tmp_path, name, start + content)]
    assert found == [{"id": "1", "text": "Hello"}, {"id": "2", "text": "Habari"}]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"id;text\n1;a, b\n", {"id": "1", "text": "a, b"}),
        (b"id\ttext\n1\ta; b, c\n", {"id": "1", "text": "a; b, c"}),
        (b'id;"text, or; what was said";x\n1;"a;b";c\n', {"id": "1", "text, or; what was said": "a;b", "x": "c"}),
        (b"id,a;b\n1,c\n", {"id": "1", "a;b": "c"}),
        (b"text\nnothing; at all\n", {"text": "nothing; at all"}),
        (b'text\n"one, or two"\n', {"text": "one, or two"}),
    ],
    ids=["semicolons", "tabs", "quoted names", "as many of both", "one column", "one column with quotes"],
)
@pytest.mark.parametrize("start", [b"", BOM, b"\n\r\n"], ids=["bare", "with a byte order mark", "after empty lines"])
def test_columns_are_separated_by_what_the_first_line_holds_most(tmp_path, start, content, expected) -> None:
    (row,) = rows_of(tmp_path, "a.csv", start + content)
    assert (row.values, row.number) == (expected, 2 + start.count(b"\n"))


def test_row_numbers_are_those_that_an_editor_shows(tmp_path) -> None:
    lines = b'{"text": "a"}\n\n   \n{"text": "b"}\n'
    assert [row.number for row in rows_of(tmp_path, "a.jsonl", lines)] == [1, 4]
    quoted = b'text\n"two\nlines"\nb\n'
    assert [(row.number, row.values) for row in rows_of(tmp_path, "a.csv", quoted)] == [
        (3, {"text": "two\nlines"}),
        (4, {"text": "b"}),
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"text": "open', "the row is not valid JSON: Invalid control character at"),
        (b"text only", "the row is not valid JSON: Expecting value"),
        (b'["a", "list"]', "the row is a list; expected an object with named fields"),
        (b'"a text"', "the row is a text; expected an object with named fields"),
        (b"null", "the row is null; expected an object with named fields"),
        (b'{"text": "\xff\xfe"}', rows.NOT_UTF_8),
        (b'{"a":' * 30 + b"1" + b"}" * 30, "the row is nested more than 20 levels deep"),
        (b'{"a":' * 90_000 + b"1" + b"}" * 90_000, "the row is not valid JSON: nested too deeply"),
        (b'{"text": "' + b"x" * 1_000_001 + b'"}', "the row has 1,000,014 bytes; expected at most 1,000,000"),
        (b'{"n": ' + b"9" * 5000 + b"}", "the row is not valid JSON: a number has too many digits"),
    ],
    ids=["cut off", "bare words", "list", "string", "null", "Latin-1", "deep", "very deep", "huge", "endless number"],
)
def test_a_faulty_line_is_named_and_the_others_are_read(tmp_path, line, problem) -> None:
    found = rows_of(tmp_path, "a.jsonl", b'{"text": "before"}\n' + line + b'\n{"text": "after"}\n')
    assert found == [Row(1, {"text": "before"}), Row(2, None, problem), Row(3, {"text": "after"})]


def test_a_faulty_element_of_an_array_is_named_and_the_others_are_read(tmp_path) -> None:
    deep = '{"a":' * 30 + "1" + "}" * 30
    found = rows_of(tmp_path, "a.json", f'[{{"text": "a"}}, [1], {deep}, {{"text": "b"}}]'.encode())
    assert found == [
        Row(1, {"text": "a"}),
        Row(2, None, "the row is a list; expected an object with named fields"),
        Row(3, None, "the row is nested more than 20 levels deep"),
        Row(4, {"text": "b"}),
    ]


def test_an_array_that_is_nested_without_end_is_read_in_little_memory(tmp_path) -> None:
    found = rows_of(tmp_path, "a.json", b'[{"text": "a"}, ' + b"[" * 50_000 + b"]" * 50_000 + b', 7, {"a": [1, {}]}]')
    assert found == [
        Row(1, {"text": "a"}),
        Row(2, None, "the row is nested more than 20 levels deep"),
        Row(3, None, "the row is a number; expected an object with named fields"),
        Row(4, {"a": [1, {}]}),
    ]


@pytest.mark.parametrize(
    "rest", [b' {"text": ]', b' {"text": "cut', b' {"text": "\xff"}]'], ids=["broken", "cut off", "Latin-1"]
)
def test_an_array_that_breaks_in_the_middle_keeps_the_rows_before_it(tmp_path, rest) -> None:
    good, broken = rows_of(tmp_path, "a.json", b'[{"text": "secret words"},' + rest)
    assert good == Row(1, {"text": "secret words"})
    assert (broken.number, broken.values) == (2, None)
    assert broken.problem.startswith("the file is not valid JSON from here on; the rows before it were read")
    assert "secret" not in broken.problem


@pytest.mark.parametrize("content", [b"42", b'"words"', b"true"])
def test_a_json_file_that_is_no_list_is_refused(tmp_path, content) -> None:
    with pytest.raises(UnreadableFile, match=r"^the file is not a JSON array; expected \[ with one object a case$"):
        rows_of(tmp_path, "a.json", content)


def test_a_csv_row_with_too_many_values_is_named_and_the_others_are_read(tmp_path) -> None:
    found = rows_of(tmp_path, "a.csv", b"id,text\n1,a,extra,more\n2\n\n3,b\n")
    assert found == [
        Row(2, None, "the row has 4 values; expected 2, as the first line has"),
        Row(3, None, "the row has 1 values; expected 2, as the first line has"),
        Row(5, {"id": "3", "text": "b"}),
    ]


def test_columns_without_a_name_are_known_by_their_place(tmp_path) -> None:
    assert rows_of(tmp_path, "a.csv", b"\n,text,\n1,a,b\n") == [Row(3, {"column 1": "1", "text": "a", "column 3": "b"})]


def test_a_csv_row_that_is_not_utf_8_is_named_and_the_others_are_read(tmp_path) -> None:
    broken = 'id,text\n1,before\n2,"café\nfür"\n3,né\n'.encode("latin-1")
    found = rows_of(tmp_path, "a.csv", broken + "4,né\n".encode())
    assert rows.NOT_UTF_8 == (
        "the row is not UTF-8; the rest of the file was read: save the file as UTF-8 and import it again"
    )
    assert found == [
        Row(2, {"id": "1", "text": "before"}),
        Row(4, None, rows.NOT_UTF_8),
        Row(5, None, rows.NOT_UTF_8),
        Row(6, {"id": "4", "text": "né"}),
    ]


def test_one_line_of_another_encoding_is_no_guess_at_the_whole_file(tmp_path) -> None:
    assert rows_of(tmp_path, "a.csv", b"text\ncaf\xe9\n") == [Row(2, None, rows.NOT_UTF_8)]
    many = b"text\n" + b"a\n" * 30 + b"caf\xe9\n" * 3
    assert [row.problem for row in rows_of(tmp_path, "a.csv", many)] == [""] * 30 + [rows.NOT_UTF_8] * 3


BY_MARK = "the file is UTF-16, as its byte order mark says"
BY_NULS = "the file looks like UTF-16: many of its bytes are 0"


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json"])
@pytest.mark.parametrize(
    ("written_in", "guess"),
    [
        ("utf-16", BY_MARK),
        ("utf-16-le", BY_NULS),
        ("utf-16-be", BY_NULS),
        ("windows-1252", "the file looks like Windows-1252: 2 of its first 3 lines are not UTF-8"),
        ("cp437", "the file is in another encoding: 2 of its first 3 lines are not UTF-8"),
    ],
)
def test_a_file_that_is_wholly_in_another_encoding_is_refused_with_the_guess(tmp_path, name, written_in, guess) -> None:
    with pytest.raises(UnreadableFile) as refused:
        rows_of(tmp_path, name, 'text\n"fürèì"\n"für"\n'.encode(written_in))
    expected = "expected UTF-8: save it again as UTF-8 (Excel: CSV UTF-8; Notepad: Save as, Encoding UTF-8)"
    assert str(refused.value) == f"{guess}; {expected}"


def test_a_character_that_the_sample_cuts_in_two_is_no_fault(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(encoding, "SAMPLE_BYTES", 13)
    assert len(rows_of(tmp_path, "a.csv", "text\nab\né\n".encode("latin-1") + "cdé\n".encode())) == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty; expected a first line with the names of the columns"),
        (b"id,text\n", "the file has no rows; expected one case a row"),
        (
            b"id,t\xe9xt\n1,a\n",
            (
                "the first line is not UTF-8; expected the names of the columns: save it again as UTF-8 "
                "(Excel: CSV UTF-8; Notepad: Save as, Encoding UTF-8)"
            ),
        ),
        (
            b'id,text\n1,"never closed\n',
            (
                "line 2 is not valid CSV: unexpected end of data; mend its quotes or those before it, "
                "and import the file again"
            ),
        ),
        (
            b"id,text\n1," + b"x" * 1_000_001 + b"\n",
            (
                "line 2 has a value of more than 1,000,000 characters; shorten it, or close its quotes, "
                "and import the file again"
            ),
        ),
        (
            b"id,text\r1,abc\r2,def",
            "line 1 ends in CR alone, as on old Macs; save it as CSV UTF-8, and import the file again",
        ),
        (b"id,a,a\n", "the first line names the column 'a' twice; expected each name once: rename one"),
    ],
    ids=["empty", "no rows", "Latin-1 names", "open quote", "huge field", "lines that end in CR", "a name twice"],
)
def test_a_csv_file_whose_rows_cannot_be_told_apart_is_refused(tmp_path, content, message) -> None:
    with pytest.raises(UnreadableFile) as refused:
        rows_of(tmp_path, "a.csv", content)
    assert str(refused.value) == message


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path) -> None:
    with pytest.raises(UnreadableFile, match=r"^the file has 2,000 bytes; expected at most 1,999: split it$"):
        rows_of(tmp_path, "a.jsonl", b"x" * 2000, max_bytes=1999)


def test_a_file_of_another_kind_is_refused(tmp_path) -> None:
    with pytest.raises(
        UnreadableFile,
        match=r"^the file ends in '.ods'; expected one of .jsonl, .ndjson, .json, .csv, .xlsx, .parquet$",
    ):
        rows_of(tmp_path, "a.ods", b"PK")


def test_a_file_with_too_many_rows_is_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(rows, "MAX_ROWS", 2)
    with pytest.raises(UnreadableFile, match=r"^the file has more than 2 rows; split it$"):
        rows_of(tmp_path, "a.jsonl", b"{}\n{}\n{}\n")
