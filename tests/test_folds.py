from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ml import folds, metrics, training
from ml.encoder import Encoder
from ml.folds import OutOfFold
from ml.progress import Progress
from ml.schema import Kind
from ml.training import TrainingError
from ml.types import Example
from tests import tiny

SCHEMA = tiny.toy_schema()
ROWS = tiny.cases(90)


@pytest.fixture(scope="module")
def answer(tiny_encoder: Encoder, tiny_exports: Path) -> Callable[..., OutOfFold]:
    def run(rows: list[Example] = ROWS, count: int = 3, **given: object) -> OutOfFold:
        return folds.answer(rows, SCHEMA, tiny.QUICK, encoder=tiny_encoder, count=count, exports=tiny_exports, **given)

    return run


@pytest.fixture(scope="module")
def learnt() -> list[set[str]]:
    """The rows of each training that `answered` took."""
    return []


@pytest.fixture(scope="module")
def told() -> list[Progress]:
    """What `answered` told while it went on."""
    return []


@pytest.fixture(scope="module")
def answered(answer: Callable[..., OutOfFold], learnt: list[set[str]], told: list[Progress]) -> OutOfFold:
    real = training.train

    def noting(rows: list[Example], *args: object, **rest: object) -> object:
        learnt.append({row.id for row in rows})
        return real(rows, *args, **rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "train", noting)
        return answer(progress=told.append)


def case(text: str, **given: str) -> Example:
    return Example(id=text, text=text, **given)


def test_folds_are_of_about_the_same_size_and_differ_with_the_seed() -> None:
    first, again, other = (folds.draw(ROWS, 5, seed=seed) for seed in (1, 1, 2))
    assert np.bincount(first).tolist() == [18] * 5
    assert (first == again).all()
    assert (first != other).any()


def test_texts_of_the_same_words_are_never_parted() -> None:
    rows = [case(f"Call {number} came in.") for number in range(30)]
    rows += [case(f"call {number}  CAME in") for number in range(30)]
    for seed in range(5):
        fold = folds.draw(rows, 4, seed=seed)
        assert (fold[:30] == fold[30:]).all()
        assert set(fold) == {0, 1, 2, 3}


def test_conversations_are_never_parted_nor_what_their_texts_repeat() -> None:
    rows = [case(f"text {number}", source="a", conversation=str(number // 3)) for number in range(30)]
    rows += [case(f"text {number}", source="b", conversation=f"copy of {number}") for number in range(30)]
    rows += [case(f"reply {number}", source="b", conversation=f"copy of {number}") for number in range(30)]
    for seed in range(5):
        fold = folds.draw(rows, 4, seed=seed).reshape(3, 10, 3)
        assert (fold == fold[:1, :, :1]).all()


def test_conversations_of_two_sources_may_share_a_name() -> None:
    rows = [case(f"text {number}", source=str(number), conversation="1") for number in range(8)]
    assert set(folds.draw(rows, 8, seed=0)) == set(range(8))


def test_too_few_different_texts_are_refused() -> None:
    with pytest.raises(TrainingError, match="2 different texts make no 3 folds; add cases, or ask for fewer folds"):
        folds.draw([case("one"), case("One!"), case("two")], 3, seed=0)


def test_no_model_answers_what_it_learnt_from(answered: OutOfFold, learnt: list[set[str]]) -> None:
    left_out = [{row.id for row, at in zip(ROWS, answered.fold, strict=True) if at == number} for number in range(3)]
    assert [len(one) for one in left_out] == [30] * 3
    assert learnt == [{row.id for row in ROWS} - one for one in left_out]


def test_every_row_is_answered_in_its_place(answered: OutOfFold) -> None:
    assert answered.rows == ROWS
    found = metrics.evaluate(SCHEMA, answered.rows, answered.predictions)
    assert list(found) == list(SCHEMA.by_key)
    assert {one["n"] for one in found.values()} == {90}
    assert found["thing"]["accuracy"] > found["thing"]["majority"] + 0.3
    assert found["thing"]["ece"] is not None


def test_probabilities_have_a_column_for_each_label(answered: OutOfFold) -> None:
    things = answered.probabilities(SCHEMA.head("thing"))
    assert things.shape == (90, 4)
    np.testing.assert_allclose(things.sum(axis=1), 1.0)
    first = answered.predictions[0]
    assert things[0].tolist() == list(first["thing"].probabilities.values())
    assert answered.probabilities(SCHEMA.head("mood")).shape == (90, 2)
    assert SCHEMA.head("names").kind == Kind.SPANS
    assert np.isnan(answered.probabilities(SCHEMA.head("names"))).all()


def test_a_head_with_too_few_labels_is_not_answered(answer: Callable[..., OutOfFold]) -> None:
    rows = [replace(row, labels={"place": row.labels["place"]}) for row in ROWS[:40]]
    rows[:9] = [replace(row, labels={**row.labels, "mood": ["calm"]}) for row in rows[:9]]
    found = answer(rows, 2)
    assert np.isnan(found.probabilities(SCHEMA.head("mood"))).all()
    assert not np.isnan(found.probabilities(SCHEMA.head("place"))).any()


def test_progress_names_the_fold(answered: OutOfFold, told: list[Progress]) -> None:
    assert list(dict.fromkeys(one.phase for one in told)) == [
        f"{phase} {number}/3" for number in (1, 2, 3) for phase in ("encode", "train")
    ]
