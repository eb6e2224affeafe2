"""What a project of somebody else asks of our model, and the answer in its own words."""

from __future__ import annotations

import pytest

from annotate import backend, config, payloads
from annotate.errors import PayloadError
from ml import schema as schemas
from ml.types import HeadPrediction, Prediction

HELPLINE, CUSTOMER = schemas.load("helpline"), schemas.load("customer")
BOTH = [CUSTOMER, HELPLINE]
THEIRS = """
<View>
  <Text name="story" value="$transcript"/>
  <Choices name="urgency" toName="story">
    <Choice value="1"/><Choice value="2" alias="two"/><Choice value="3"/>
  </Choices>
  <Choices name="help" toName="story" choice="multiple">
    <Choice value="counseling"/><Choice value="REFERRAL" alias="ref"/>
  </Choices>
  <Choices name="mood" toName="story"><Choice value="Happy"/><Choice value="Sad"/></Choices>
  <Labels name="who" toName="story"><Label value="Name"/><Label value="LOCATION"/></Labels>
  <TextArea name="note" toName="story"/>
</View>
"""
SAID: Prediction = {
    "main_category": HeadPrediction("VANE", 0.9),
    "priority": HeadPrediction("2", 0.8, {"2": 0.8}),
    "intervention": HeadPrediction(["Counselling", "Referral"], 0.5, {"Counselling": 0.6, "Referral": 0.9}),
    "entities": HeadPrediction(
        [{"start": 0, "end": 4, "label": "NAME", "confidence": 0.7}, {"start": 6, "end": 9, "label": "AGE"}], None
    ),
}


def region(name: str, type_: str, **value: object) -> dict[str, object]:
    return {"from_name": name, "to_name": "story", "type": type_, "value": value}


def test_a_project_is_answered_in_its_own_words() -> None:
    connection = backend.connect(THEIRS, BOTH)
    assert (connection.schema, connection.text_key) == (HELPLINE, "transcript")
    assert backend.result_of(connection, SAID) == [
        region("urgency", "choices", choices=["two"]),
        region("help", "choices", choices=["counseling", "ref"]),
        region("who", "labels", start=0, end=4, labels=["Name"]) | {"score": 0.7},
    ]


def test_a_question_for_one_label_gets_the_most_probable() -> None:
    connection = backend.connect(THEIRS.replace('choice="multiple"', 'choice="single"'), BOTH)
    assert region("help", "choices", choices=["ref"]) in backend.result_of(connection, SAID)


@pytest.mark.parametrize("schema", BOTH, ids=lambda schema: schema.name)
def test_a_project_that_we_made_is_answered_in_full(schema) -> None:
    connection = backend.connect(config.build(schema), BOTH)
    assert (connection.schema, connection.is_ours, connection.text_key) == (schema, True, config.TEXT)
    said = {"sub_category": HeadPrediction("Child Neglect", 0.9)} if schema is HELPLINE else {}
    said |= {"tags": HeadPrediction(["Deal-seeker"], 0.9)} if schema is CUSTOMER else {}
    found, problems = payloads.labels_of(schema, backend.result_of(connection, said), "a")
    assert (problems, {key: found[key] for key in said}) == ([], {key: head.answer for key, head in said.items()})


def test_a_label_that_the_newest_schema_has_lost_is_left_out_and_the_rest_told() -> None:
    connection = backend.connect(config.build(HELPLINE), BOTH)
    said = {"main_category": HeadPrediction("Gone", 0.9), "priority": HeadPrediction("2", 0.9)}
    assert payloads.labels_of(HELPLINE, backend.result_of(connection, said), "a") == ({"priority": "2"}, [])
    theirs = backend.connect(THEIRS, BOTH)
    assert backend.result_of(theirs, {"priority": HeadPrediction("9", 0.9)}) == []


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ("<View", "not well-formed"),
        (None, "not well-formed"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><View>&b;</View>', "not well-formed"),
        ("<View/>", "no control of this project"),
        (THEIRS.replace('value="$transcript"', 'value="$transcript" valueType="url"'), "no control of this project"),
        (THEIRS.replace("<Text", "<HyperText"), "no control of this project"),
    ],
    ids=["broken", "none", "with entities", "empty", "text by address", "other media"],
)
def test_a_project_that_cannot_be_answered_is_refused_in_words(xml, message) -> None:
    with pytest.raises(PayloadError, match=message):
        backend.connect(xml, BOTH)


def test_a_label_or_two_in_common_by_chance_are_no_question_of_ours() -> None:
    colours = "".join(f'<Choice value="{name}"/>' for name in ("1", "red", "green", "blue"))
    with pytest.raises(PayloadError):
        backend.connect(
            f'<View><Text name="t" value="$t"/><Choices name="c" toName="t">{colours}</Choices></View>', BOTH
        )


def test_texts_are_read_from_the_tasks() -> None:
    connection = backend.connect(THEIRS, BOTH)
    tasks = [{"data": {"transcript": "a"}}, {"data": {"transcript": 7}}, {"data": None}, "b"]
    assert backend.texts_of(connection, tasks) == ["a", "", "", ""]
    for bad in ([], {}, None, [{}] * (backend.MOST_TASKS + 1)):
        with pytest.raises(PayloadError, match="expected from 1 to 500 tasks"):
            backend.texts_of(connection, bad)
