from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ml import folds, label_errors
from ml.encoder import Encoder
from ml.folds import OutOfFold
from ml.label_errors import Doubt, LabelError
from ml.types import Example, HeadPrediction, Prediction
from tests import tiny

SCHEMA = tiny.toy_schema()
THINGS = SCHEMA.head("thing").keys


def pooled(rows: list[Example], predictions: list[Prediction]) -> OutOfFold:
    return OutOfFold(rows, np.zeros(len(rows), dtype=np.int64), predictions)


def test_a_label_is_doubted_where_another_reaches_its_own_threshold() -> None:
    given = np.array([0, 0, 0, 1, 1, 1])
    probs = np.array([0.9, 0.8, 0.2, 0.1, 0.3, 0.45])  # Of class 0: thresholds 0.633 and 0.717
    found = label_errors.doubts(given, np.stack([probs, 1 - probs], axis=1))
    assert found == [Doubt(row=2, suggested=1, probability=pytest.approx(0.8), margin=pytest.approx(0.6))]


def test_a_label_that_the_model_finds_hard_is_doubted_later() -> None:
    easy = [[0.95, 0.05]] * 9 + [[0.4, 0.6]]
    hard = [[0.4, 0.6]] * 10  # Of class 1, of which the model is never surer
    found = label_errors.doubts(np.array([0] * 10 + [1] * 10), np.array(easy + hard))
    assert [(one.row, one.suggested) for one in found] == [(9, 1)]


def test_the_worst_is_first_whatever_the_order_of_the_rows() -> None:
    rng = np.random.default_rng(0)
    probs, given = rng.dirichlet([0.4] * 4, 300), rng.integers(4, size=300)
    found = label_errors.doubts(given, probs)
    assert [one.margin for one in found] == sorted((one.margin for one in found), reverse=True)
    order = rng.permutation(300)
    moved = label_errors.doubts(given[order], probs[order])
    assert [replace(one, row=int(order[one.row])) for one in moved] == found


def test_a_class_that_nobody_gave_is_never_suggested() -> None:
    probs = np.array([[0.1, 0.1, 0.8], [0.1, 0.7, 0.2], [0.7, 0.2, 0.1]])
    assert label_errors.doubts(np.array([0, 1, 0]), probs) == []


def test_spoilt_labels_are_found_among_probabilities_of_a_good_model() -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(5, size=1000)
    scores = rng.normal(size=(1000, 5)) + 4.0 * np.eye(5)[true]
    probs = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    spoilt = rng.choice(1000, 100, replace=False)
    given = true.copy()
    given[spoilt] = (true[spoilt] + rng.integers(1, 5, size=100)) % 5
    found = label_errors.doubts(given, probs)
    hits = {one.row for one in found} & set(spoilt.tolist())
    assert len(hits) / len(found) >= 0.85
    assert len(hits) >= 70
    assert np.mean([one.suggested == true[one.row] for one in found if one.row in hits]) >= 0.98
    assert {one.row for one in found[:50]} <= set(spoilt.tolist()), "the worst are all spoilt"


def test_labels_spoilt_on_purpose_are_found_by_the_training_of_the_loop(
    tiny_encoder: Encoder, tiny_exports: Path
) -> None:
    rows, rng = tiny.cases(240), np.random.default_rng(1)
    spoilt = {f"{at}" for at in rng.choice(240, 24, replace=False)}
    wrong = {"ship": "hill", "wave": "road", "hill": "wave", "road": "ship"}
    calm = {f"{at}" for at in rng.choice(240, 24, replace=False)}
    for at, row in enumerate(rows):
        labels = dict(row.labels)
        if row.id in spoilt:
            labels["thing"] = wrong[str(labels["thing"])]
            labels["place"] = tiny.PLACES[labels["thing"]]
        if row.id in calm:
            labels["mood"] = sorted(set(labels["mood"]) ^ {"calm"})
        rows[at] = replace(row, labels={key: labels[key] for key in ("place", "thing", "mood")})
    answered = folds.answer(rows, SCHEMA, tiny.QUICK, encoder=tiny_encoder, count=4, exports=tiny_exports)
    found = label_errors.find(SCHEMA, answered)
    things = [one for one in found if one.head == "thing"]
    hits = [one for one in things if one.id in spoilt]
    assert len(hits) / len(things) >= 0.8
    assert len(hits) >= 15
    assert all(wrong[str(one.suggested)] == one.given for one in hits[:10])
    moods = [one for one in found if one.head == "mood" and one.label == "calm"]
    assert sum(one.id in calm for one in moods) / len(moods) >= 0.8
    assert sum(one.id in calm for one in moods) >= 15


def test_each_kind_says_what_was_given_and_what_is_suggested() -> None:
    def of(thing: str, calm: float) -> Prediction:
        sure = {key: 0.97 if key == thing else 0.01 for key in THINGS}
        return {
            "thing": HeadPrediction(thing, 0.9, sure),
            "mood": HeadPrediction([], 0.9, {"calm": calm, "loud": 0.0}),
        }

    rows = [Example(str(at), "x", {"thing": THINGS[at % 4], "mood": ["calm"] if at % 2 else []}) for at in range(40)]
    said = [of(str(row.labels["thing"]), 0.9 if row.labels["mood"] else 0.1) for row in rows]
    rows[0] = replace(rows[0], labels={"thing": "wave", "mood": ["calm"]})
    rows.append(Example("unlabelled", "x"))
    rows.append(Example("unanswered", "x", {"thing": "ship"}))
    said += [of("road", 0.9), {}]
    found = label_errors.find(SCHEMA, pooled(rows, said))
    assert found == [
        LabelError("0", "thing", "wave", "ship", 0.97, 1),
        LabelError("0", "mood", True, False, 0.9, 1, "calm"),
    ]
    assert [list(one.as_json()) for one in found] == [
        ["id", "head", "given", "suggested", "probability", "rank"],
        ["id", "head", "label", "given", "suggested", "probability", "rank"],
    ]


def test_labels_that_the_schema_has_no_more_are_passed_over() -> None:
    sure = {"ship": 0.97, "wave": 0.01, "hill": 0.01, "road": 0.01}
    rows = [Example("1", "x", {"thing": "boat"})]
    assert label_errors.find(SCHEMA, pooled(rows, [{"thing": HeadPrediction("ship", 0.9, sure)}])) == []
