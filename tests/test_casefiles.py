"""Files of cases as people have them, well-formed and hostile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ml import schema
from ml.types import Example
from webapp.casefiles import rows
from webapp.casefiles.columns import Columns, Fault, parse_mapping
from webapp.casefiles.rows import Row
from webapp.errors import UnreadableFile

BOM = b"\xef\xbb\xbf"
HELPLINE = schema.load("helpline")


def rows_of(folder: Path, name: str, content: bytes, *, max_bytes: int = 10_000_000) -> list[Row]:
    path = folder / name
    path.write_bytes(content)
    return list(rows.read(path, max_bytes=max_bytes))


def read(values: dict[str, Any], **mapping: str) -> tuple[Example | None, list[Fault]]:
    return Columns(HELPLINE, mapping).read(1, values, source="import")


def example_of(values: dict[str, Any], **mapping: str) -> Example:
    example, faults = read(values, **mapping)
    assert faults == []
    assert example is not None
    return example


# --- Rows ------------------------------------------------------------------------------------------------------------


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
        (b'["a", "list"]', "the row is a JSON list; expected an object with named fields"),
        (b'"a text"', "the row is a JSON str; expected an object with named fields"),
        (b"null", "the row is a JSON NoneType; expected an object with named fields"),
        (b'{"text": "\xff\xfe"}', "the row is not UTF-8 text; save the file as UTF-8"),
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
        Row(2, None, "the row is a JSON list; expected an object with named fields"),
        Row(3, None, "the row is nested more than 20 levels deep"),
        Row(4, {"text": "b"}),
    ]


def test_an_array_that_is_nested_without_end_is_read_in_little_memory(tmp_path) -> None:
    found = rows_of(tmp_path, "a.json", b'[{"text": "a"}, ' + b"[" * 50_000 + b"]" * 50_000 + b', 7, {"a": [1, {}]}]')
    assert found == [
        Row(1, {"text": "a"}),
        Row(2, None, "the row is nested more than 20 levels deep"),
        Row(3, None, "the row is a JSON int; expected an object with named fields"),
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
    found = rows_of(tmp_path, "a.csv", b"id,text\n1,a,extra,more\n2,b\n")
    assert found == [Row(2, None, "the row has 4 values; expected 2"), Row(3, {"id": "2", "text": "b"})]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty; expected a first line with the names of the columns"),
        (b"id,text\n1,caf\xe9\n", "the file is not UTF-8 text; save it as CSV UTF-8"),
        ("id,text\n1,a\n".encode("utf-16"), "the file is not UTF-8 text; save it as CSV UTF-8"),
        (b'id,text\n1,"never closed\n', "line 2 is not valid CSV: unexpected end of data"),
        (b"id,text\n1," + b"x" * 1_000_001 + b"\n", "line 2 is not valid CSV: field larger than field limit (1000000)"),
    ],
    ids=["empty", "Latin-1", "UTF-16", "open quote", "huge field"],
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
        UnreadableFile, match=r"^the file ends in '.xlsx'; expected one of .jsonl, .ndjson, .json, .csv$"
    ):
        rows_of(tmp_path, "a.xlsx", b"PK")


def test_a_file_with_too_many_rows_is_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(rows, "MAX_ROWS", 2)
    with pytest.raises(UnreadableFile, match=r"^the file has more than 2 rows; split it$"):
        rows_of(tmp_path, "a.jsonl", b"{}\n{}\n{}\n")


# --- Columns ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "field"),
    [
        ("id", "id"),
        ("External_ID", "id"),
        ("uniqueid", "id"),
        ("narrative", "text"),
        (" Transcript ", "text"),
        ("message", "text"),
        ("timestamp", "sent_at"),
        ("conversation_id", "conversation"),
        ("category", "sub_category"),
        ("Case Category", "main_category"),
        ("Priority", "priority"),
        ("QA", "call_quality"),
        ("county", "metadata.county"),
    ],
)
def test_columns_are_recognised_by_their_usual_names(column, field) -> None:
    assert Columns(HELPLINE, {}).field_of(column) == field


def test_a_mapping_wins_over_what_is_recognised() -> None:
    columns = Columns(HELPLINE, {"summary": "text", "remarks": "-", "category": "main category"})
    fields = [columns.field_of(column) for column in ("summary", "narrative", "remarks", "category", "main_category")]
    assert fields == ["text", "metadata.narrative", "-", "main_category", "metadata.main_category"]


def test_a_mapping_to_a_field_that_does_not_exist_is_refused() -> None:
    expected = (
        "column 'a' is mapped to 'mood'; expected one of id, text, source, conversation, sent_at, labels, metadata, "
        "main_category, sub_category, intervention, priority, entities, call_quality, or - for none"
    )
    with pytest.raises(UnreadableFile) as refused:
        Columns(HELPLINE, {"a": "mood"})
    assert str(refused.value) == expected


def test_pairs_of_column_and_field_are_read() -> None:
    assert parse_mapping(["a = text", "b=-", "c=x=y"]) == {"a": "text", "b": "-", "c": "x=y"}


@pytest.mark.parametrize("pair", ["text", "=text", "a=", " = "])
def test_a_pair_of_another_form_is_refused(pair) -> None:
    with pytest.raises(UnreadableFile, match="is not of the form COLUMN=FIELD"):
        parse_mapping([pair])


def test_labels_are_read_from_columns_through_their_aliases() -> None:
    row = {"text": "t", "main_category": "abuse", "category": "NEGLECT", "intervention": "Counseling\nreferred"}
    assert example_of(row | {"priority": 1.0}).labels == {
        "main_category": "VANE",
        "sub_category": "Child Neglect",
        "intervention": ["Counselling", "Referral"],
        "priority": "1",
    }


@pytest.mark.parametrize("spelt", [{"priority": "High"}, '{"priority": "High"}'], ids=["object", "JSON in a string"])
def test_labels_are_read_from_one_column_that_holds_them_all(spelt) -> None:
    assert example_of({"text": "t", "labels": spelt}).labels == {"priority": "1"}


def test_two_labels_that_differ_in_case_only_are_told_apart_by_spelling_and_by_their_parent() -> None:
    advice = example_of({"text": "t", "sub_category": "School related issues"}).labels
    assert advice == {"main_category": "Advice and Counselling", "sub_category": "School related issues"}
    information = example_of({"text": "t", "sub_category": "School Related Issues"}).labels
    assert information == {"main_category": "Information", "sub_category": "School Related Issues"}
    by_parent = example_of({"text": "t", "main_category": "Information", "sub_category": "SCHOOL RELATED ISSUES"})
    assert by_parent.labels == information


def test_nested_objects_go_to_the_metadata() -> None:
    row = {"text": "t", "reporter": {"age": 30}, "victims": [{"age": 7}], "metadata": {"county": "Kisumu"}}
    assert example_of(row).metadata == {
        "reporter": {"age": 30},
        "victims": [{"age": 7}],
        "county": "Kisumu",
    }


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("not json", "labels is not valid JSON; expected an object"),
        ("[" * 90_000, "labels is not valid JSON; expected an object"),
        (["VANE"], "labels is a list; expected an object"),
        (7, "labels is a int; expected an object"),
    ],
    ids=["words", "deep", "list", "number"],
)
def test_labels_of_another_form_are_reported_and_the_text_is_kept(value, message) -> None:
    example, faults = read({"text": "t", "labels": value})
    assert faults == [Fault(1, "labels", message)]
    assert example is not None
    assert (example.text, example.labels) == ("t", {})


@pytest.mark.parametrize(
    ("text", "found"), [(None, "missing"), ("", "empty"), (" \n", "empty"), ("\x00", "empty"), (7, "not a text")]
)
def test_a_row_without_a_text_is_refused(text, found) -> None:
    assert read({"id": "1", "text": text}) == (
        None,
        [Fault(1, "text", f"text is {found}; expected the text of the case")],
    )


def test_a_text_that_looks_like_a_formula_is_kept_as_it_is() -> None:
    assert example_of({"id": "=1+1", "text": "=HYPERLINK(0)"}) == Example("=1+1", "=HYPERLINK(0)", source="import")


def test_characters_that_no_database_takes_are_removed_everywhere() -> None:
    row = {"id": "a\x00b", "text": "one\x00 two \ud800", "source": "s\x00", "county\x00": {"k\x00": ["v\x00", 1.5]}}
    example = example_of(row)
    assert (example.id, example.text, example.source) == ("ab", "one two \ufffd", "s")
    assert example.metadata == {"county": {"k": ["v", 1.5]}}


def test_a_number_that_json_does_not_know_becomes_empty() -> None:
    metadata = example_of({"text": "t", "a": float("nan"), "b": [float("inf"), 1]}).metadata
    assert metadata == {"a": None, "b": [None, 1]}


def test_entities_stay_on_their_words_when_line_ends_and_nul_characters_are_taken_out() -> None:
    text = "Agent: hello\r\nCaller:\x00 I am Amina."
    start = text.index("Amina")
    example = example_of({"text": text, "entities": [{"start": start, "end": start + 5, "label": "NAME"}]})
    (span,) = example.labels["entities"]
    assert example.text[span["start"] : span["end"]] == "Amina"


@pytest.mark.parametrize(
    ("column", "longest"), [("id", 200), ("source", 100), ("conversation", 200)], ids=["id", "source", "conversation"]
)
def test_a_name_that_is_too_long_is_reported(column, longest) -> None:
    assert example_of({"text": "t", column: "x" * longest})
    assert read({"text": "t", column: "x" * (longest + 1)}) == (
        None,
        [Fault(1, column, f"{column} has {longest + 1} characters; expected at most {longest}")],
    )


def test_a_text_that_is_too_long_is_reported() -> None:
    assert read({"text": "x" * 1_000_001}) == (
        None,
        [Fault(1, "text", "text has 1,000,001 characters; expected at most 1,000,000")],
    )


def test_a_row_without_an_id_gets_one_from_its_text() -> None:
    first, again, other = (example_of({"text": text}).id for text in ("a", "a", "b"))
    assert first == again == "text-ca978112ca1bbdcafac2"  # The SHA-256 of "a"
    assert other != first


@pytest.mark.parametrize(("given", "id"), [(0, "0"), (17, "17"), ("017", "017")])
def test_an_id_that_is_a_number_is_kept(given, id) -> None:
    assert example_of({"id": given, "text": "t"}).id == id


def test_of_two_columns_for_one_field_an_empty_one_does_not_hide_the_other() -> None:
    assert example_of({"text": "words", "message": None}).text == "words"
    assert example_of({"text": "", "message": "words"}).text == "words"


# --- Call quality, as exports hold it --------------------------------------------------------------------------------


def quality(marks: dict[str, Any]) -> str:
    """Call quality as one export has it: each group is JSON in a string, in a JSON object in a string."""
    return json.dumps({group: json.dumps(values) for group, values in marks.items()})


def test_call_quality_is_read_from_json_in_a_string_in_a_string() -> None:
    row = {"text": "t", "qa": quality({"opening": [1], "hold": [0, 1], "proactiveness": [True, "no", None]})}
    assert example_of(row).labels == {
        "call_quality": {
            "opening": {"phrase": True},
            "proactiveness": {"extra_issues": True, "confirms_satisfaction": False, "follows_up": None},
            "hold": {"explains": False, "thanks": True},
        }
    }


@pytest.mark.parametrize("spelt", ["No hold was required", ["no hold was required"]])
def test_no_hold_makes_both_questions_about_it_not_applicable(spelt) -> None:
    labels = example_of({"text": "t", "call_quality": {"hold": spelt}}).labels
    assert labels == {"call_quality": {"hold": {"explains": None, "thanks": None}}}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, 0, 1], "call_quality.hold has 3 values; expected 2, for explains, thanks"),
        ([1], "call_quality.hold has 1 values; expected 2, for explains, thanks"),
        ([1, 7], "call_quality.hold.thanks is 7; expected yes, no or n/a (1, 0 or null)"),
    ],
    ids=["too many", "too few", "neither yes nor no"],
)
def test_a_group_that_cannot_be_read_is_reported_and_the_others_are_kept(values, message) -> None:
    example, faults = read({"text": "t", "qa": quality({"opening": [1], "hold": values})})
    assert faults == [Fault(1, "call_quality", message)]
    assert example is not None
    assert example.labels == {"call_quality": {"opening": {"phrase": True}}}
