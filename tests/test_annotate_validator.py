"""Label Studio's own validator, as its SDK has it, passes every configuration and every result of ours."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from label_studio_sdk.label_interface import LabelInterface

from annotate import config, payloads
from ml import schema as schemas
from ml.schema import Criterion, Group, Head, Kind, Label, Schema
from ml.types import HeadPrediction, Labels
from tests.test_annotate_config import schemas_of_any_kind
from tests.test_annotate_payloads import TEXT, labelled

FIFTY = settings(  # The same fifty each time, so that a run tells what it says it does
    max_examples=50, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
CRITERIA = (Criterion("c", "C", "c"), Criterion("d", "D", "d"))
ONE_OF_EACH = Schema(
    "one-of-each",
    1,
    "One of each",
    "",
    (
        Head("main", "Main", Kind.CHOICE, "?", (Label("A", "A", "a"), Label("B", "B", "b"))),
        Head(
            "sub",
            "Sub",
            Kind.CHOICE,
            "?",
            (
                Label("A1", "A1", "a", parent="A"),
                Label("A2", "A2", "a", parent="A"),
                Label("B1", "B1", "b", parent="B"),
            ),
            parent="main",
        ),
        Head("many", "Many", Kind.CHOICES, "?", (Label("x", "X", "x"), Label("y", "Y", "y"))),
        Head("places", "Places", Kind.SPANS, "?", (Label("NAME", "Name", "n"), Label("AGE", "Age", "a"))),
        Head(
            "quality",
            "Quality",
            Kind.RUBRIC,
            "?",
            groups=(Group("g", "G", (Criterion("c", "C", "c"), Criterion("d", "D", "d"))),),
        ),
    ),
    "",
)


@pytest.mark.parametrize("name", schemas.shipped())
def test_every_shipped_schema_passes(name: str) -> None:
    xml = config.build(schemas.load(name))
    LabelInterface(xml).validate()
    assert config.check(xml) == []


@FIFTY
@given(schemas_of_any_kind())
def test_fifty_generated_schemas_pass(schema: Schema) -> None:
    xml = config.build(schema)
    LabelInterface(xml).validate()
    assert config.check(xml) == []


@pytest.mark.parametrize("key", ["0", "1_0", "nan", "-5", "true", "1e5"])
def test_a_head_may_have_a_key_that_reads_as_a_number(key: str) -> None:
    labels = (Label("x", "X", "x"), Label("y", "Y", "y"))
    schema = Schema("one", 1, "One", "", (Head(key, "H", Kind.CHOICES, "?", labels),), "")
    xml = config.build(schema)
    LabelInterface(xml).validate()
    assert payloads.labels_of(schema, payloads.result_of(schema, {key: ["x"]}), TEXT) == ({key: ["x"]}, [])


@FIFTY
@given(labelled())
def test_what_is_filled_in_passes_as_a_prediction(drawn: tuple[Schema, Labels]) -> None:
    schema, labels = drawn
    prediction = {key: HeadPrediction(answer, 0.5, {}) for key, answer in labels.items()}
    entry = payloads.predictions_entry(schema, prediction, "version 1", rank=1.0)
    assert LabelInterface(config.build(schema)).validate_prediction(entry, return_errors=True) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [('whenTagName="main"', 'whenTagName="moin"'), ('whenChoiceValue="B"', 'whenChoiceValue="C"')],
)
def test_what_the_validator_misses_our_check_finds(old: str, new: str) -> None:
    """The conditions of a dependent question: Label Studio takes any, and then never shows the question."""
    broken = config.build(ONE_OF_EACH).replace(old, new)
    LabelInterface(broken).validate()
    assert len(config.check(broken)) >= 1


@pytest.mark.parametrize("kind", Kind)
def test_the_labels_of_each_kind_come_back_exactly_and_so_do_its_results(kind: Kind) -> None:
    """The property tests draw every kind; this says so kind by kind, over every answer that the small schema has."""
    heads = [head.key for head in ONE_OF_EACH.heads if head.kind == kind]
    answers = [labels for labels in _all_answers() if labels.keys() & set(heads)]
    assert len(answers) >= 3
    for labels in answers:
        result = payloads.result_of(ONE_OF_EACH, labels)
        assert payloads.labels_of(ONE_OF_EACH, result, TEXT) == (labels, [])
        again, _ = payloads.labels_of(ONE_OF_EACH, result, TEXT)
        assert payloads.result_of(ONE_OF_EACH, again) == result


def _all_answers() -> list[Labels]:
    marks: tuple[bool | None, ...] = (True, False, None)
    rubrics: list[Any] = [{"g": {"c": one, "d": other}} for one in marks for other in marks]
    spans: list[Any] = [[], [{"start": 0, "end": 7, "label": "NAME"}, {"start": 0, "end": 7, "label": "AGE"}][::-1]]
    spans += [[{"start": 0, "end": 7, "label": "NAME"}, {"start": 3, "end": 9, "label": "NAME"}]]
    choices: list[Any] = [[], ["x"], ["y"], ["x", "y"]]
    subs: list[Labels] = [{"main": key[0], "sub": key} for key in ONE_OF_EACH.head("sub").keys]
    return [
        *subs,
        *({"many": answer} for answer in choices),
        *({"places": answer} for answer in spans),
        *({"quality": answer} for answer in rubrics),
    ]
