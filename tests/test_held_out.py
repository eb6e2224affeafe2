from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from ml import held_out
from ml.config import TrainConfig
from ml.held_out import HeldOut, Outcome
from ml.pieces import Pieces
from ml.targets import SpanTarget, Target
from ml.types import Example
from tests import tiny

SCHEMA = tiny.toy_schema()
TEXTS = [case.text for case in tiny.cases(200)]
FULL = TrainConfig(profile="full")


def outcome(*figures: float, loss: float = 1.0) -> Outcome:
    return Outcome(1, {}, {}, loss, {str(at): figure for at, figure in enumerate(figures)})


def test_every_row_is_left_out_by_exactly_one_copy_and_by_none_of_the_last() -> None:
    found = held_out.draw(TEXTS, 0, TrainConfig(folds=4))
    assert found.shape == (5, 200)
    assert found[:4].sum(dim=0).tolist() == [1] * 200
    assert found[:4].sum(dim=1).tolist() == [50] * 4
    assert not found[-1].any()


def test_folds_depend_on_the_seed_and_on_nothing_else() -> None:
    first, again = held_out.draw(TEXTS, 0, TrainConfig()), held_out.draw(TEXTS[::-1], 0, TrainConfig())
    assert torch.equal(first, again)
    assert not torch.equal(first, held_out.draw(TEXTS, 0, TrainConfig(seed=1)))


def test_the_full_profile_leaves_out_the_same_texts_whatever_comes_beside_them() -> None:
    [found] = held_out.draw(TEXTS, 0, FULL)
    [later] = held_out.draw([*TEXTS[100:], "one that is new"], 0, replace(FULL, seed=9))
    assert found[100:].tolist() == later[:100].tolist()
    assert 0.05 < found.float().mean() < 0.30
    assert not held_out.draw(TEXTS, 0, replace(FULL, validation_share=0.0)).any()


@pytest.mark.parametrize("profile", ["fast", "full"])
def test_validation_rows_are_left_out_and_no_others(profile: str) -> None:
    found = held_out.draw(TEXTS[:3], 2, TrainConfig(profile=profile))
    assert found.tolist() == [[False, False, False, True, True]]


@pytest.mark.parametrize(
    ("one", "other", "is_better"),
    [
        pytest.param(outcome(0.9, 0.5), outcome(0.8, 0.5), True, id="a higher mean"),
        pytest.param(outcome(0.9, 0.3), outcome(0.6, 0.7), False, id="a higher measure of one head alone"),
        pytest.param(outcome(0.5, loss=0.9), outcome(0.5, loss=1.0), True, id="a lower loss where measures are equal"),
        pytest.param(outcome(0.5001, loss=1.0), outcome(0.5, loss=0.9), False, id="measures that differ by a hair"),
        pytest.param(outcome(0.6, loss=2.0), outcome(0.5, loss=0.1), True, id="a higher loss of better answers"),
        pytest.param(outcome(0.5), outcome(0.5), False, id="itself"),
        pytest.param(outcome(loss=0.1), outcome(loss=0.2), True, id="nothing measured"),
    ],
)
def test_which_outcome_is_better(one: Outcome, other: Outcome, is_better: bool) -> None:
    assert one.is_better_than(other) is is_better


def rows(**answers: list) -> list[Example]:
    return [
        Example(str(at), "x", {key: answer for key, answer in zip(answers, row, strict=True) if answer is not None})
        for at, row in enumerate(zip(*answers.values(), strict=True))
    ]


def of_pooled(key: str, answers: list, is_out: list) -> HeldOut:
    examples = rows(**{key: answers})
    return HeldOut(torch.tensor(is_out), examples, [Target.read(SCHEMA.head(key), examples)], [], [])


def figure(held: HeldOut, key: str, scores: list) -> float:
    return held.measure(3, {key: torch.tensor(scores)}, {}).figures[key]


def test_a_choice_is_measured_by_the_copies_that_left_a_row_out() -> None:
    is_out = [[True, False, True], [False, True, False]]
    held = of_pooled("place", ["sea", "land", None], is_out)
    sea, land = [2.0, 0.0], [0.0, 2.0]
    assert figure(held, "place", [[sea, sea, sea], [land, land, land]]) == 1.0
    assert figure(held, "place", [[land, land, sea], [sea, sea, sea]]) == 0.0
    found = held.measure(3, {"place": torch.tensor([[sea, sea, sea], [land, sea, land]])}, {})
    assert (found.epoch, found.figures) == (3, {"place": 0.5})
    assert found.loss == pytest.approx((np.log1p(np.exp(-2)) + np.log1p(np.exp(2))) / 2, abs=1e-6)


def test_choices_are_measured_by_micro_f1_and_nothing_wanted_nor_given_is_perfect() -> None:
    held = of_pooled("mood", [["calm"], ["calm", "loud"], []], [[True, True, True]])
    assert figure(held, "mood", [[[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]]]) == pytest.approx(2 * 2 / (3 + 3))
    nothing = of_pooled("mood", [[], []], [[True, True]])
    assert figure(nothing, "mood", [[[-1.0, -1.0], [-1.0, -1.0]]]) == 1.0


def test_a_rubric_is_measured_by_what_is_labelled() -> None:
    answers = [{"opening": {"greets": True}, "hold": {"thanks": None}}, {"opening": {"greets": False}}]
    held = of_pooled("manner", answers, [[True, True]])
    # greets, thanks (not applicable, so not counted), greets applies, thanks applies
    assert figure(held, "manner", [[[1.0, 9.0, 1.0, 1.0], [-1.0, 9.0, -1.0, 9.0]]]) == pytest.approx(3 / 5)


def test_spans_are_measured_on_the_rows_that_the_first_copy_left_out() -> None:
    ranges = np.array([[0, 4], [5, 9]])
    cut = Pieces(np.zeros(4), ranges, np.array([1, 2]), np.array([-1, 0, 1, -1]))
    examples = rows(names=[[{"start": 0, "end": 4, "label": "NAME"}], [], [{"start": 5, "end": 9, "label": "NAME"}]])
    target = SpanTarget.read(SCHEMA.head("names"), examples, [cut] * 3)
    held = HeldOut(torch.tensor([[True, False, True], [False, True, False]]), examples, [], [target], [cut] * 3)
    assert held.tagged_rows(target) == [0, 2]
    first, none = np.array([[0.0, 9, 0], [9, 0, 0]]), np.array([[9.0, 0, 0], [9, 0, 0]])
    assert held.measure(1, {}, {"names": {0: first, 2: none}}).figures["names"] == pytest.approx(2 / 3)


def test_a_head_that_no_held_out_row_labels_is_not_measured() -> None:
    held = of_pooled("place", ["sea", None], [[False, True]])
    found = held.measure(1, {"place": torch.zeros(1, 2, 2)}, {})
    assert (found.figures, found.loss) == ({}, 0.0)


def test_rows_are_measured_by_the_copy_that_did_not_learn_from_them() -> None:
    scores: Tensor = torch.tensor([[[0.0], [1.0], [2.0]], [[10.0], [11.0], [12.0]], [[20.0], [21.0], [22.0]]])
    is_out = torch.tensor([[False, True, False], [True, False, False], [False, False, False]])
    held = HeldOut(is_out, [], [], [], [])
    rows, found = held.of_strangers(Outcome(1, {"place": scores}, {}, 0.0, {}))
    assert rows == [0, 1]
    assert found["place"].tolist() == [[10.0], [1.0]]


def test_tags_that_are_nearer_to_the_truth_are_better_though_no_span_is_found_yet() -> None:

    cut = Pieces(np.zeros(3), np.array([[0, 4]]), np.array([1]), np.array([-1, 0, -1]))
    examples = rows(names=[[{"start": 0, "end": 4, "label": "NAME"}]])
    target = SpanTarget.read(SCHEMA.head("names"), examples, [cut])
    held = HeldOut(torch.tensor([[True]]), examples, [], [target], [cut])
    far, near = ({"names": {0: np.array([[score, 0.0, 0.0]])}} for score in (9.0, 1.0))
    assert held.measure(2, {}, near).is_better_than(held.measure(1, {}, far))
