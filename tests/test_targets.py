from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from ml import targets
from ml.pieces import Pieces
from ml.schema import Head
from ml.spans import SpanFaults
from ml.targets import SpanTarget, Target
from ml.types import Answer, Example
from tests import tiny

SCHEMA = tiny.toy_schema()
PLACE, MOOD, NAMES, MANNER = (SCHEMA.head(key) for key in ("place", "mood", "names", "manner"))
LEVEL = {"balance": 0.5, "heaviest": 5.0}


def rows(head: Head, *answers: Answer | None, text: str = "x") -> list[Example]:
    return [
        Example(str(at), text, {head.key: answer} if answer is not None else {}) for at, answer in enumerate(answers)
    ]


def rated(greets: bool | None, thanks: bool | None) -> Answer:
    return {"opening": {"greets": greets}, "hold": {"thanks": thanks}}


def gradient(target: Target, row: int) -> Tensor:
    """How much the loss of one row depends on each score, (C,)."""
    scores = torch.zeros(1, 1, target.is_known.shape[1], requires_grad=True)
    target.losses(scores, torch.tensor([row])).sum().backward()
    return scores.grad[0, 0]


def test_a_criterion_that_does_not_apply_teaches_nothing_of_whether_it_is_met() -> None:
    found = gradient(Target.read(MANNER, rows(MANNER, rated(True, None))), 0)
    assert found.tolist() == [-0.5, 0.0, -0.5, 0.5]  # greets, thanks, greets applies, thanks applies


def test_a_criterion_that_is_not_labelled_teaches_nothing_at_all() -> None:
    target = Target.read(MANNER, rows(MANNER, {"opening": {"greets": False}}, None))
    assert gradient(target, 0).tolist() == [0.5, 0.0, -0.5, 0.0]
    assert gradient(target, 1).tolist() == [0.0] * 4
    assert target.rows.tolist() == [True, False]


def test_a_choice_that_is_not_labelled_or_that_the_schema_has_no_more_teaches_nothing() -> None:
    target = Target.read(PLACE, rows(PLACE, "land", None, "moon"))
    assert target.rows.tolist() == [True, False, False]
    losses = target.losses(torch.zeros(1, 3, 2), torch.arange(3))
    torch.testing.assert_close(losses, torch.tensor([[float(np.log(2)), 0.0, 0.0]]))


def test_no_label_of_a_choices_head_is_an_answer_and_no_answer_is_none() -> None:
    target = Target.read(MOOD, rows(MOOD, [], ["loud"], None, ["calm", "gone"]))
    assert target.rows.tolist() == [True, True, False, True]
    assert target.value.tolist() == [[0, 0], [0, 1], [0, 0], [1, 0]]
    losses = target.losses(torch.zeros(2, 4, 2), torch.arange(4))
    torch.testing.assert_close(losses, 2 * np.log(2) * torch.tensor([[1.0, 1, 0, 1]] * 2))


def test_losses_are_those_of_each_copy_and_row() -> None:
    target = Target.read(PLACE, rows(PLACE, "sea", "land"))
    scores = torch.tensor([[[3.0, 1.0], [3.0, 1.0]], [[0.0, 0.0], [1.0, 3.0]]])  # (K, n, C)
    expected = [[np.log1p(np.exp(-2)), np.log1p(np.exp(2))], [np.log(2), np.log1p(np.exp(-2))]]
    torch.testing.assert_close(target.losses(scores, torch.arange(2)), torch.tensor(expected).float())
    torch.testing.assert_close(
        target.losses(scores.flip(1), torch.tensor([1, 0])), torch.tensor(expected).float().flip(1)
    )


def test_of_some_rows_is_read_as_those_rows_are() -> None:
    examples = rows(MANNER, rated(True, None), None, rated(False, True))
    part, alone = Target.read(MANNER, examples).of([2, 0]), Target.read(MANNER, [examples[2], examples[0]])
    assert torch.equal(part.value, alone.value)
    assert torch.equal(part.is_known, alone.is_known)


def test_rows_of_rare_labels_count_more_up_to_a_limit() -> None:
    target = Target.read(PLACE, rows(PLACE, *["sea"] * 9, "land"))
    learns = torch.ones(1, 10, dtype=torch.bool)
    level = target.weights(learns, balance=0.0, heaviest=5.0)
    balanced = target.weights(learns, balance=1.0, heaviest=5.0)
    limited = target.weights(learns, balance=1.0, heaviest=2.0)
    assert level.tolist() == [[1.0] * 10]
    assert balanced[0, -1].item() == pytest.approx(5.0)
    assert balanced[0, 0].item() == pytest.approx(10 / 18)
    assert limited[0, -1].item() == 2.0


def test_a_row_of_several_labels_counts_as_its_rarest_and_one_of_none_as_one() -> None:
    target = Target.read(MOOD, rows(MOOD, *[["calm"]] * 6, ["calm", "loud"], []))
    weights = target.weights(torch.ones(1, 8, dtype=torch.bool), balance=1.0, heaviest=9.0)[0]
    torch.testing.assert_close(weights, torch.tensor([*[8 / 7 / 2] * 6, 4.0, 1.0]))


def test_the_rows_of_a_rubric_count_alike() -> None:
    target = Target.read(MANNER, rows(MANNER, *[rated(True, None)] * 9, rated(False, True), None))
    weights = target.weights(torch.ones(1, 11, dtype=torch.bool), balance=1.0, heaviest=9.0)
    assert weights.tolist() == [[1.0] * 10 + [0.0]]


def test_unlabelled_rows_make_no_label_common() -> None:
    target = Target.read(PLACE, rows(PLACE, "sea", "land", None, None))
    assert target.rarity(torch.ones(1, 4, dtype=torch.bool), balance=1.0, heaviest=5.0).tolist() == [[1.0, 1.0]]


def test_a_row_that_is_held_out_or_unlabelled_counts_nothing() -> None:
    learns = torch.tensor([[True, False, True, True]])
    target = Target.read(PLACE, rows(PLACE, "sea", "land", None, "land"))
    assert (target.weights(learns, **LEVEL) > 0).tolist() == [[True, False, False, True]]


def pieces(*words: tuple[int, int]) -> Pieces:
    n = len(words)
    return Pieces(np.zeros(n + 2), np.array(words).reshape(-1, 2), np.arange(1, n + 1), np.arange(-1, n + 1))


WORDS = pieces((0, 4), (5, 8), (9, 12), (13, 17))  # Of "Ship the and Wave"


def span(start: int, end: int, label: str = "NAME") -> dict[str, object]:
    return {"start": start, "end": end, "label": label}


def test_each_word_is_tagged_as_the_spans_of_its_row_say() -> None:
    target = SpanTarget.read(NAMES, rows(NAMES, [span(0, 8), span(13, 17)], [], None), [WORDS] * 3)
    assert [tags.tolist() if tags is not None else None for tags in target.tags] == [[1, 2, 0, 1], [0] * 4, None]
    assert target.rows.tolist() == [True, True, False]
    assert target.faults == SpanFaults()


def test_a_text_whose_spans_cut_words_is_not_believed_and_counted() -> None:
    wrong = [span(1, 4), span(6, 8), span(13, 17)]
    slips = [span(1, 4), span(5, 8), span(9, 12)]
    target = SpanTarget.read(NAMES, rows(NAMES, wrong, slips), [WORDS] * 2)
    assert target.rows.tolist() == [False, True]
    assert target.tags[1].tolist() == [0, 1, 1, 0]
    assert target.faults == SpanFaults(misaligned=3)


def test_spans_beyond_the_text_or_of_nothing_or_over_others_are_counted_and_not_learnt() -> None:
    answer = [span(0, 4), span(0, 8), span(3, 3), span(40, 50), span(13, 17), span(13, 17), span(5, 8, "GONE")]
    target = SpanTarget.read(NAMES, rows(NAMES, answer), [WORDS])
    assert target.tags[0].tolist() == [1, 2, 0, 1]
    assert target.faults == SpanFaults(empty=2, duplicate=1, overlapping=1, unknown=1)


def test_the_loss_of_tags_counts_words_of_the_rows_that_may_be_learnt_from() -> None:
    short = pieces((0, 4))
    target = SpanTarget.read(NAMES, rows(NAMES, [], [], None, [span(0, 4)]), [WORDS, WORDS, WORDS, short])
    scores = torch.zeros(4, 4, 3, requires_grad=True)
    loss = target.loss(scores, [0, 1, 2, 3], torch.tensor([True, False, True, True]))
    assert loss.item() == pytest.approx((4 + 1) * np.log(3) / 4)
    loss.backward()
    taught = scores.grad.abs().sum(dim=2) > 0
    assert taught.tolist() == [[True] * 4, [False] * 4, [False] * 4, [True, False, False, False]]


def test_nothing_to_learn_of_tags_is_a_loss_of_nothing() -> None:
    target = SpanTarget.read(NAMES, rows(NAMES, None), [WORDS])
    assert target.loss(torch.zeros(1, 4, 3), [0], torch.tensor([True])).item() == 0.0


def test_tasks_part_the_rows_by_the_heads_that_they_label() -> None:
    cases = tiny.cases(6)
    heads = [("place",), ("place", "names"), ("place",), (), ("names",), ("place", "names")]
    labelled = [
        replace(case, labels={key: case.labels[key] for key in keys}) for case, keys in zip(cases, heads, strict=True)
    ]
    names = SpanTarget.read(NAMES, [replace(row, labels=row.labels | {"names": []}) if "names" in row.labels else row
                                    for row in labelled], [WORDS] * 6)  # fmt: skip
    found = targets.tasks([Target.read(PLACE, labelled), names])
    assert sorted(found) == [[0, 2], [1, 5], [4]]


def test_only_heads_that_answer_a_case_as_a_whole_are_read_together() -> None:
    found = targets.read(SCHEMA, ["place", "names", "manner"], tiny.cases(3))
    assert [target.head.key for target in found] == ["place", "manner"]
