"""Translation to Label Studio's results and back: nothing is lost, nothing is made up."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotate import config, payloads
from annotate.errors import PayloadError
from ml import schema as schemas
from ml.answers import Problem
from ml.schema import Head, Kind, Schema
from ml.types import Answer, HeadPrediction, Labels
from tests.test_annotate_config import QUICK, schemas_of_any_kind

TEXT = "Wanjiru is twelve. 😀 She lives in Kisumu."
HELPLINE = schemas.load("helpline")
RANKS = st.floats(-1e6, 1e6)


@st.composite
def labelled(draw: st.DrawFn) -> tuple[Schema, Labels]:
    """Draw a schema and labels that it allows."""
    schema = draw(schemas_of_any_kind())
    labels: Labels = {}
    for head in schema.heads:
        if draw(st.booleans()) and (head.parent is None or head.parent in labels):
            labels[head.key] = _answer(draw, head, labels)
    return schema, labels


def _answer(draw: st.DrawFn, head: Head, labels: Labels) -> Answer:
    if head.kind == Kind.CHOICE:
        allowed = head.keys if head.parent is None else [label.key for label in head.children(str(labels[head.parent]))]
        return draw(st.sampled_from(allowed))
    if head.kind == Kind.CHOICES:
        chosen = draw(st.sets(st.sampled_from(head.keys)))
        return [key for key in head.keys if key in chosen]
    if head.kind == Kind.SPANS:
        return [{"start": start, "end": end, "label": label} for start, end, label in draw(_places(head.keys))]
    groups = draw(st.lists(st.sampled_from(head.groups), min_size=1, unique_by=lambda group: group.key))
    return {group.key: draw(_marks([criterion.key for criterion in group.criteria])) for group in groups}


def _marks(criteria: list[str]) -> st.SearchStrategy[dict[str, bool | None]]:
    return st.dictionaries(st.sampled_from(criteria), st.sampled_from([True, False, None]), min_size=1)


def _places(keys: tuple[str, ...]) -> st.SearchStrategy[list[tuple[int, int, str]]]:
    starts = st.integers(0, len(TEXT) - 1)
    span = starts.flatmap(lambda s: st.tuples(st.just(s), st.integers(s + 1, len(TEXT)), st.sampled_from(keys)))
    return st.lists(span, unique=True).map(sorted)


@st.composite
def answered(draw: st.DrawFn) -> tuple[Schema, list[dict[str, Any]]]:
    """Draw a schema and a result as the screen would make it: from the controls, not from labels."""
    schema = draw(schemas_of_any_kind())
    result: list[dict[str, Any]] = []
    chosen: dict[str, str] = {}
    silent: set[str] = set()
    for control in config.controls(schema):
        head = control.head
        is_hidden = control.parent is not None and chosen.get(head.parent or "") != control.parent
        if is_hidden or head.key in silent or not draw(st.booleans()):
            continue
        if control.type == "labels":
            places = draw(_places(tuple(control.codes)).filter(bool))
            places.sort(key=lambda place: (place[0], place[1], control.codes[place[2]]))
            result += [_region(control.name, "labels", start=s, end=e, labels=[code]) for s, e, code in places]
            silent.add(head.key)
        else:
            codes = draw(_codes(control))
            result.append(_region(control.name, "choices", choices=codes))
            chosen[head.key] = control.codes.get(codes[0], "")
    return schema, result


def _codes(control: config.Control) -> st.SearchStrategy[list[str]]:
    if control.says_none:
        return st.just([config.NONE])
    if control.head.kind != Kind.CHOICES:
        return st.sampled_from(list(control.codes)).map(lambda code: [code])
    order = list(control.codes)
    some = st.sets(st.sampled_from(order), min_size=1).map(lambda codes: sorted(codes, key=order.index))
    return some | st.just([config.NONE])


def _region(name: str, kind: str, **value: Any) -> dict[str, Any]:
    return {"from_name": name, "to_name": config.TEXT_NAME, "type": kind, "value": value}


@QUICK
@given(labelled())
def test_labels_come_back_as_they_went(drawn: tuple[Schema, Labels]) -> None:
    schema, labels = drawn
    assert payloads.labels_of(schema, payloads.result_of(schema, labels), TEXT) == (labels, [])


@QUICK
@given(answered())
def test_results_come_back_as_they_went(drawn: tuple[Schema, list[dict[str, Any]]]) -> None:
    schema, result = drawn
    labels, problems = payloads.labels_of(schema, result, TEXT)
    assert problems == []
    assert payloads.result_of(schema, labels) == result


@QUICK
@given(schemas_of_any_kind(), st.lists(st.recursive(st.none() | st.integers() | st.text(), st.lists), max_size=3))
def test_garbage_is_reported_region_by_region(schema: Schema, garbage: list[Any]) -> None:
    labels, problems = payloads.labels_of(schema, garbage, TEXT)
    assert labels == {}
    assert len(problems) == len(garbage)


def _problem(*result: dict[str, Any]) -> tuple[Labels, list[str]]:
    labels, problems = payloads.labels_of(HELPLINE, result, TEXT)
    return labels, [f"{problem.head}: {problem.message}" for problem in problems]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ([_region("priority", "choices", choices=["4"])], "priority: priority has a label that is not in the schema"),
        ([_region("priority", "choices", choices=["1", "2"])], "priority: priority has several answers; expected one"),
        ([_region("priority", "choices", choices=[])], "priority: priority has a region without choices"),
        ([_region("priority", "taxonomy", choices=["1"])], "priority: priority has a region without choices"),
        ([_region("priority", "choices", choices=[["1"]])], "priority: priority has a label that is not in the schema"),
        (
            [_region("entities", "labels", start=4, end=len(TEXT) + 1, labels=["NAME"])],
            "entities: entities has a span outside the text, which has 41 characters",
        ),
        (
            [_region("entities", "labels", start=4.0, end=8, labels=["NAME"])],
            "entities: entities has a span outside the text, which has 41 characters",
        ),
        ([_region("entities", "labels", start=4, end=8)], "entities: entities has a region without labels"),
        (
            [_region("intervention", "choices", choices=["Referral", config.NONE])],
            'intervention: intervention says "none" beside labels',
        ),
        (
            [
                _region("entities", "labels", start=0, end=7, labels=["NAME"]),
                _region("entities~none", "choices", choices=[config.NONE]),
            ],
            'entities: entities says "none" beside labels',
        ),
        (
            [
                _region("call_quality.hold.thanks", "choices", choices=["yes"]),
                _region("call_quality.hold.thanks", "choices", choices=["na"]),
            ],
            "call_quality: call_quality has several marks for hold.thanks",
        ),
        ([_region("mood", "choices", choices=["sad"])], ": region 0 belongs to no control of the schema helpline"),
    ],
)
def test_what_the_schema_does_not_allow_is_reported(result: list[dict[str, Any]], message: str) -> None:
    assert _problem(*result) == ({}, [message])


def test_a_fault_in_one_head_leaves_the_others() -> None:
    labels, problems = _problem(
        _region("priority", "choices", choices=["9"]), _region("intervention", "choices", choices=["Referral"])
    )
    assert labels == {"intervention": ["Referral"]}
    assert len(problems) == 1


def test_a_sub_category_that_contradicts_the_main_category_is_reported() -> None:
    labels, problems = _problem(
        _region("main_category", "choices", choices=["GBV"]),
        _region("sub_category.VANE", "choices", choices=["Child Neglect"]),
    )
    assert labels == {"main_category": "GBV"}
    assert problems == ["sub_category: sub_category is a label of 'VANE'; main_category is 'GBV'"]


def test_a_sub_category_under_a_main_category_that_cannot_be_read_is_left_out_too() -> None:
    labels, problems = _problem(
        _region("main_category", "choices", choices=["GBV", "VANE"]),
        _region("sub_category.VANE", "choices", choices=["Child Neglect"]),
    )
    assert labels == {}
    assert problems == [
        "main_category: main_category has several answers; expected one",
        "sub_category: sub_category depends on main_category, which cannot be read",
    ]


def test_a_sub_category_alone_answers_the_main_category_too() -> None:
    labels, problems = _problem(_region("sub_category.VANE", "choices", choices=["Child Neglect"]))
    assert labels == {"main_category": "VANE", "sub_category": "Child Neglect"}
    assert problems == []


def test_answers_stand_in_the_order_of_the_schema_whatever_was_clicked_first() -> None:
    labels, _ = _problem(
        _region("call_quality.hold.thanks", "choices", choices=["na"]),
        _region("call_quality.hold.explains", "choices", choices=["no"]),
        _region("call_quality.opening.phrase", "choices", choices=["yes"]),
        _region("intervention", "choices", choices=["Referral", "Counselling"]),
    )
    assert json.dumps(labels) == (
        '{"intervention": ["Counselling", "Referral"], '
        '"call_quality": {"opening": {"phrase": true}, "hold": {"explains": false, "thanks": null}}}'
    )


@pytest.mark.parametrize(
    "labels",
    [
        {"mood": "sad"},
        {"priority": "4"},
        {"intervention": ["Prayer"]},
        {"entities": [{"start": 0, "end": 1, "label": "COLOUR"}]},
        {"call_quality": {"hold": {"music": True}}},
        {"call_quality": {"jokes": {"good": True}}},
    ],
)
def test_labels_that_the_schema_does_not_have_are_never_sent(labels: Labels) -> None:
    with pytest.raises(PayloadError):
        payloads.result_of(HELPLINE, labels)


def test_a_prediction_is_filled_in_for_the_heads_that_it_has() -> None:
    prediction = {"priority": HeadPrediction("1", 0.6), "intervention": HeadPrediction(["Referral"], None)}
    made = payloads.task(HELPLINE, "case-1", TEXT, prediction, "v3", rank=0.0)
    assert made["data"] == {"case_id": "case-1", "text": TEXT}
    (entry,) = made["predictions"]
    assert (entry["model_version"], entry["score"]) == ("v3", 0.5)
    assert payloads.labels_of(HELPLINE, entry["result"], TEXT) == (
        {"priority": "1", "intervention": ["Referral"]},
        [],
    )


def test_a_blind_case_has_a_place_in_the_queue_and_nothing_filled_in() -> None:
    (entry,) = payloads.task(HELPLINE, "case-1", TEXT, None, "v3", rank=2.0)["predictions"]
    assert entry["result"] == []
    assert entry["score"] < 0.5


def test_that_no_label_of_a_question_fits_is_filled_in_so_that_it_can_be_submitted() -> None:
    prediction = {"intervention": HeadPrediction([], 0.9), "entities": HeadPrediction([], None)}
    result = payloads.predictions_entry(HELPLINE, prediction, "v3", rank=0.0)["result"]
    assert result == [_region("intervention", "choices", choices=[config.NONE])]
    assert payloads.labels_of(HELPLINE, result, TEXT) == ({"intervention": []}, [])


def test_labels_that_people_tick_beside_a_none_that_was_filled_in_stand() -> None:
    result = [_region("intervention", "choices", choices=[config.NONE, "Referral"])]
    assert payloads.labels_of(HELPLINE, result, TEXT, said_none=["intervention", "entities"]) == (
        {"intervention": ["Referral"]},
        [],
    )
    alone = [_region("intervention", "choices", choices=[config.NONE])]
    assert payloads.labels_of(HELPLINE, alone, TEXT, said_none=["intervention"]) == ({"intervention": []}, [])


@given(RANKS, RANKS)
def test_the_case_that_should_be_asked_sooner_has_the_lower_score(one: float, other: float) -> None:
    assert 0 < payloads.score_of(one) < 1
    if one > other + 1e-3:
        assert payloads.score_of(one) < payloads.score_of(other)


def _annotation(**changes: Any) -> dict[str, Any]:
    found = {
        "id": 31,
        "project": 4,
        "completed_by": {"id": 7, "email": "a@example.org"},
        "created_at": "2026-03-01T10:00:00.000001Z",
        "updated_at": "2026-03-01T10:05:00+00:00",
        "was_cancelled": False,
        "lead_time": 12.5,
        "result": [
            _region("priority", "choices", choices=["1"]) | {"origin": "prediction-changed"},
            _region("entities", "labels", start=0, end=7, labels=["NAME"], text="Wanjiru") | {"origin": "prediction"},
            _region("entities", "labels", start=34, end=40, labels=["LOCATION"], text="Kisumu") | {"origin": "manual"},
            _region(config.COMMENT_NAME, "textarea", text=["Please look again"]) | {"origin": "manual"},
        ],
    }
    return {**found, **changes}


FOUND_TASK = {"id": 11, "project": 4, "data": {"case_id": "c9", "text": TEXT}}


def test_an_annotation_is_read_with_all_that_stands_beside_its_labels() -> None:
    received = payloads.annotation_of(HELPLINE, FOUND_TASK, _annotation())
    assert (received.project, received.task, received.id, received.case_id) == (4, 11, 31, "c9")
    assert received.completed_by == 7
    assert received.created_at == datetime(2026, 3, 1, 10, 0, 0, 1, tzinfo=UTC)
    assert received.updated_at == datetime(2026, 3, 1, 10, 5, tzinfo=UTC)
    assert received.lead_time == 12.5
    assert received.labels["priority"] == "1"
    assert received.labels["entities"] == [
        {"start": 0, "end": 7, "label": "NAME"},
        {"start": 34, "end": 40, "label": "LOCATION"},
    ]
    assert received.problems == ()
    assert received.comment == "Please look again"
    assert received.origins == {"priority": {"prediction-changed": 1}, "entities": {"prediction": 1, "manual": 1}}


def test_what_is_kept_of_a_result_has_no_words_of_the_case() -> None:
    received = payloads.annotation_of(HELPLINE, FOUND_TASK, _annotation())
    assert len(received.result) == 4
    assert "Wanjiru" not in json.dumps(received.result)


def test_a_skipped_case_has_no_labels_though_the_result_was_filled_in() -> None:
    received = payloads.annotation_of(HELPLINE, FOUND_TASK, _annotation(was_cancelled=True))
    assert received.was_cancelled
    assert received.labels == {}


def test_the_annotator_may_be_given_as_a_number() -> None:
    assert payloads.annotation_of(HELPLINE, FOUND_TASK, _annotation(completed_by=8)).completed_by == 8


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"created_at": "yesterday"}, "the moment it was made cannot be read"),
        ({"updated_at": "2026-03-01T10:00:00"}, "the moment it was changed cannot be read"),
        ({"was_cancelled": ...}, "the mark of a skip cannot be read"),
        ({"lead_time": "long"}, "the time it took cannot be read"),
    ],
)
def test_answers_are_kept_though_something_beside_them_cannot_be_read(changes: dict[str, Any], problem: str) -> None:
    found = {key: value for key, value in _annotation(**changes).items() if value is not ...}
    received = payloads.annotation_of(HELPLINE, FOUND_TASK, found)
    assert received.problems == (Problem("", problem),)
    assert received.labels == payloads.annotation_of(HELPLINE, FOUND_TASK, _annotation()).labels


def test_answers_are_kept_though_the_comment_cannot_be_read() -> None:
    result = [_region("priority", "choices", choices=["1"]), _region(config.COMMENT_NAME, "textarea")]
    received = payloads.annotation_of(HELPLINE, FOUND_TASK, _annotation(result=result))
    assert (received.labels, received.comment) == ({"priority": "1"}, "")
    assert received.problems == (Problem("", "the comment cannot be read"),)


@pytest.mark.parametrize("result", [3, ...], ids=["number", "missing"])
def test_an_annotation_without_a_result_has_a_problem_and_no_labels(result: Any) -> None:
    found = {key: value for key, value in _annotation(result=result).items() if value is not ...}
    received = payloads.annotation_of(HELPLINE, FOUND_TASK, found)
    assert (received.id, received.labels) == (31, {})
    assert received.problems == (Problem("", "the result cannot be read"),)


def test_a_moment_that_cannot_be_read_is_the_same_each_time() -> None:
    found = _annotation(updated_at=None)
    assert payloads.annotation_of(HELPLINE, FOUND_TASK, found).updated_at == datetime(1970, 1, 1, tzinfo=UTC)


SECRET = "locks the door"


@pytest.mark.parametrize(
    "changes",
    [
        {"result": [{"from_name": SECRET, "type": SECRET, "value": SECRET}]},
        {"result": [{"from_name": [SECRET], SECRET: SECRET}]},
        {"result": [_region("priority", "choices", choices=[SECRET]), SECRET]},
        {"result": [_region("entities", "labels", start=0, end=999, labels=["NAME"], text=SECRET)]},
        {"result": [_region(config.COMMENT_NAME, SECRET, text=3, note=SECRET)]},
        {"result": {SECRET: SECRET}, "updated_at": SECRET, "created_at": SECRET, "lead_time": SECRET},
    ],
)
def test_problems_never_quote_what_was_received(changes: dict[str, Any]) -> None:
    received = payloads.annotation_of(HELPLINE, FOUND_TASK, _annotation(**changes))
    assert len(received.problems) > 0
    assert SECRET not in str(received.problems)


@pytest.mark.parametrize("missing", ["id", "case_id"])
def test_an_annotation_that_does_not_tell_what_it_is_is_a_payload_error_without_its_content(missing: str) -> None:
    task = {**FOUND_TASK, "data": {key: value for key, value in FOUND_TASK["data"].items() if key != missing}}
    found = {key: value for key, value in _annotation().items() if key != missing}
    with pytest.raises(PayloadError, match="cannot be read") as caught:
        payloads.annotation_of(HELPLINE, task, found)
    assert caught.value.__cause__ is None
