from __future__ import annotations

import pytest

from ml import encoder as encoders
from ml import schema as schemas
from ml.definitions import Definitions
from ml.encoder import Encoder
from tests import tiny

CASES = [
    ("My neighbour beats his small son with a belt every night, the boy has bruises.", "VANE"),
    (
        "The father refuses to pay maintenance, and the parents fight in court over custody of the child.",
        "Child Maintenance & Custody",
    ),
    ("The child is deaf and needs a hearing aid and a special school.", "Disability"),
]


@pytest.fixture(scope="module")
def minilm() -> Encoder:
    return encoders.load()


def test_plain_cases_are_recognised_by_the_definitions_alone(minilm: Encoder) -> None:
    definitions = Definitions(schemas.load("helpline"), minilm)
    predictions = definitions.predict([text for text, _ in CASES])
    assert [row["main_category"].answer for row in predictions] == [label for _, label in CASES]


def test_definitions_give_no_confidence_and_children_agree_with_their_parents(minilm: Encoder) -> None:
    schema = schemas.load("helpline")
    for row in Definitions(schema, minilm).predict([text for text, _ in CASES]):
        assert {answer.confidence for answer in row.values()} == {None}
        assert schema.head("sub_category").by_key[row["sub_category"].answer].parent == row["main_category"].answer
        assert sum(row["sub_category"].probabilities.values()) == pytest.approx(1.0)
        assert list(row) == ["main_category", "sub_category", "intervention", "priority"]


def test_a_background_of_cases_changes_what_is_usual_and_a_small_one_is_not_used(minilm: Encoder) -> None:
    schema = tiny.toy_schema()
    texts = ["a ship on the sea", "a road over the hill"]
    plain = Definitions(schema, minilm).predict(texts)
    assert Definitions(schema, minilm, background=texts).predict(texts) == plain
    background = [f"{text} {number}" for number in range(20) for text in texts]
    relative = Definitions(schema, minilm, background=background).predict(texts)
    assert [row["place"].answer for row in relative] == ["sea", "land"]
    assert relative != plain


def test_no_texts_give_no_answers(minilm: Encoder) -> None:
    assert Definitions(tiny.toy_schema(), minilm).predict([]) == []
