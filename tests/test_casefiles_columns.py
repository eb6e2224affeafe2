"""Columns of files as people have them: what is read from each, and what goes nowhere."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ml import schema
from ml.types import Example
from webapp.casefiles.columns import Columns, Fault, parse_mapping
from webapp.errors import UnreadableFile

HELPLINE = schema.load("helpline")


def read(values: dict[str, Any], **mapping: str) -> tuple[Example | None, list[Fault]]:
    return Columns(HELPLINE, mapping).read(1, values, source="import")


def example_of(values: dict[str, Any], **mapping: str) -> Example:
    example, faults = read(values, **mapping)
    assert faults == []
    assert example is not None
    return example


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
    assert fields == ["text", "metadata.narrative", "-", "main_category", "-"]


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
        (7, "labels is a number; expected an object"),
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
    assert read({"text": "x" * 200_001}) == (
        None,
        [Fault(1, "text", "text has 200,001 characters; expected at most 200,000")],
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


# --- What is left out ---------------------------------------------------------------------------------------------


def test_a_second_column_for_a_head_is_left_out_and_named() -> None:
    columns = Columns(HELPLINE, {})
    row = {"text": "t", "main_category": "VANE", "Case Category": "GBV", "labels": {"main category": "GBV"}}
    example, faults = columns.read(1, row, source="import")
    assert faults == []
    assert example is not None
    assert (example.labels, example.metadata) == ({"main_category": "VANE"}, {})
    assert columns.warnings() == [
        "column 'Case Category' is a duplicate of main_category; its values were left out",
        "column 'labels.main category' is a duplicate of main_category; its values were left out",
    ]


def test_of_two_columns_for_a_head_an_empty_one_does_not_hide_the_other() -> None:
    assert example_of({"text": "t", "main_category": "", "Case Category": "GBV"}).labels == {"main_category": "GBV"}


@pytest.mark.parametrize(
    ("mapping", "column", "values"),
    [
        ({"urgency": "priority"}, "Priority", {"urgency": "1", "Priority": "3"}),
        ({"answers": "labels"}, "labels", {"answers": {"priority": "1"}, "labels": {"priority": "3"}}),
        ({"summary": "text", "urgency": "priority"}, "message", {"urgency": "1", "message": "another text"}),
    ],
    ids=["head", "all labels", "text"],
)
def test_a_column_whose_place_a_mapping_took_says_no_label_in_the_metadata(mapping, column, values) -> None:
    example, _ = read({"summary" if "summary" in mapping else "text": "t"} | values, **mapping)
    assert example is not None
    assert example.labels == {"priority": "1"}
    assert example.metadata == ({"message": "another text"} if column == "message" else {})


def test_a_second_text_is_left_out_and_named() -> None:
    columns = Columns(HELPLINE, {})
    example, _ = columns.read(1, {"text": "t", "message": "u"}, source="import")
    assert example is not None
    assert (example.text, example.metadata) == ("t", {})
    assert columns.warnings() == ["column 'message' is a duplicate of text; its values were left out"]


def test_metadata_holds_no_label_at_any_depth() -> None:
    columns = Columns(HELPLINE, {})
    row = {
        "text": "t",
        "metadata": {"Priority": "1", "county": "Meru"},
        "reports": [{"by": "aunt", "assessed": {"case category": "GBV", "on": "Monday"}}],
    }
    example, _ = columns.read(1, row, source="import")
    assert example is not None
    assert example.metadata == {"county": "Meru", "reports": [{"by": "aunt", "assessed": {"on": "Monday"}}]}
    assert columns.warnings() == [
        "column 'metadata.Priority' names the head priority within the metadata; its values were left out",
        (
            "column 'reports.assessed.case category' names the head main_category within the metadata; "
            "its values were left out"
        ),
    ]


def test_a_mapped_column_that_is_not_there_is_named_with_the_nearest() -> None:
    columns = Columns(HELPLINE, {"ref": "id", "sumary": "source", "zzz": "-"})
    columns.expect(["ref", "summary", "text"])
    assert columns.warnings() == [
        "column 'sumary' was mapped to source, but the file has no such column; the nearest that it has is 'summary'",
        "column 'zzz' was mapped to -, but the file has no such column; it has 'ref', 'summary', 'text'",
    ]


def test_a_file_with_none_of_the_mapped_columns_is_refused() -> None:
    with pytest.raises(UnreadableFile) as refused:
        Columns(HELPLINE, {"urgenci": "priority"}).expect(["text", "urgency"])
    assert str(refused.value) == (
        "no column that was mapped is in the file: column 'urgenci' was mapped to priority, but the file has no such "
        "column; the nearest that it has is 'urgency'"
    )
    Columns(HELPLINE, {"name": "-"}).expect(["text", "urgency"])


def test_a_file_without_a_column_for_the_text_is_refused() -> None:
    with pytest.raises(UnreadableFile) as refused:
        Columns(HELPLINE, {}).expect(["id", "words"])
    assert str(refused.value) == (
        "no column holds the text; expected one named text, narrative, transcript, message, or a mapping COLUMN=text; "
        "found 'id', 'words'"
    )
    with pytest.raises(UnreadableFile, match="; column 'sumary' was mapped to text, but the file has no such column; "):
        Columns(HELPLINE, {"ref": "id", "sumary": "text"}).expect(["ref", "summary"])


def test_a_mapping_finds_a_column_with_space_around_its_name() -> None:
    columns = Columns(HELPLINE, parse_mapping(["summary=text"]))
    assert columns.field_of(" summary ") == "text"
    assert columns.warnings() == []


def test_a_file_whose_rows_bring_ever_new_columns_is_refused() -> None:
    columns = Columns(HELPLINE, {})
    with pytest.raises(
        UnreadableFile, match=r"^the file has more than 1,000 different columns; expected at most 1,000"
    ):
        columns.read(1, {"text": "t"} | {f"c{number}": 1 for number in range(1000)}, source="import")


@pytest.mark.parametrize("written", ["yesterday", "1690000000", "2026-02-31T00:00:00", "0001-01-01T00:00:00+14:00"])
def test_a_time_that_cannot_be_read_is_reported_and_the_row_is_kept(written) -> None:
    example, faults = read({"text": "t", "sent_at": written})
    assert example is not None
    expected = "a time such as 2026-03-01 12:00 or 2026-03-01T12:00:00+03:00; it was left out"
    assert faults == [Fault(1, "sent_at", f"sent_at is {written!r}; expected {expected}")]


@pytest.mark.parametrize(
    ("column", "value", "kind"), [("id", {"a": 1}, "an object"), ("source", ["a"], "a list")], ids=["id", "source"]
)
def test_a_name_that_is_no_name_is_reported(column, value, kind) -> None:
    fault = Fault(1, column, f"{column} is {kind}; expected a text or a number")
    assert read({"text": "t", column: value}) == (None, [fault])


def test_metadata_that_is_too_long_is_reported() -> None:
    assert read({"text": "t", "notes": "x" * 1_000_000}) == (
        None,
        [Fault(1, "metadata", "metadata has 1,000,013 characters; expected at most 1,000,000")],
    )


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
