from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score
from sklearn.preprocessing import MultiLabelBinarizer

from ml import metrics
from ml.types import Example, HeadPrediction
from tests import tiny

RNG = np.random.default_rng(0)
TRUE = RNG.choice(list("abcd"), 200, p=[0.5, 0.3, 0.15, 0.05]).tolist()
GIVEN = [true if RNG.random() < 0.6 else str(RNG.choice(list("abce"))) for true in TRUE]
TRUE_SETS = [[key for key in "abcd" if RNG.random() < 0.4] for _ in range(200)]
GIVEN_SETS = [[key for key in "abcd" if (key in true) != (RNG.random() < 0.2)] for true in TRUE_SETS]


def test_choices_of_one_label_are_measured_as_scikit_learn_does() -> None:
    as_sets, given_sets = [[true] for true in TRUE], [[given] for given in GIVEN]
    assert metrics.accuracy(TRUE, GIVEN) == pytest.approx(accuracy_score(TRUE, GIVEN))
    assert metrics.macro_f1(as_sets, given_sets) == pytest.approx(f1_score(TRUE, GIVEN, average="macro"))


def test_sets_of_labels_are_measured_as_scikit_learn_does() -> None:
    binarise = MultiLabelBinarizer().fit([list("abcd")])
    true, given = binarise.transform(TRUE_SETS), binarise.transform(GIVEN_SETS)
    assert metrics.micro_f1(TRUE_SETS, GIVEN_SETS) == pytest.approx(f1_score(true, given, average="micro"))
    assert metrics.macro_f1(TRUE_SETS, GIVEN_SETS) == pytest.approx(f1_score(true, given, average="macro"))


def test_nothing_wanted_and_nothing_given_is_perfect() -> None:
    assert metrics.micro_f1([[], []], [[], []]) == 1.0
    assert metrics.macro_f1([[], []], [[], []]) == 1.0


def test_calibration_error_is_the_weighted_gap_between_confidence_and_accuracy() -> None:
    assert metrics.calibration_error([0.9] * 10, [True] * 9 + [False]) == pytest.approx(0.0)
    assert metrics.calibration_error([1.0, 1.0, 0.0, 0.0], [True, False, False, False]) == pytest.approx(0.25)
    assert metrics.calibration_error([0.8] * 5 + [0.3] * 5, [True] * 5 + [False] * 5) == pytest.approx(0.25)


def test_measuring_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="0 truths and 0 answers"):
        metrics.accuracy([], [])


def test_spans_count_only_where_start_end_and_label_agree() -> None:
    true = [{"start": 0, "end": 4, "label": "NAME"}, {"start": 9, "end": 12, "label": "NAME"}]
    given = [{"start": 0, "end": 4, "label": "NAME"}, {"start": 9, "end": 11, "label": "NAME"}]
    assert metrics.micro_f1([metrics.items(true)], [metrics.items(given)]) == 0.5


def test_a_head_is_reported_beside_what_always_answering_the_commonest_scores() -> None:
    rows = [Example(id=str(at), text="x", labels={"place": key}) for at, key in enumerate(["sea", "sea", "land"])]
    rows.append(Example(id="unlabelled", text="x"))
    predictions = [{"place": HeadPrediction("sea", 0.5)}] * 4
    assert metrics.evaluate(tiny.toy_schema(), rows, predictions) == {
        "place": {
            "n": 3,
            "accuracy": pytest.approx(2 / 3),
            "macro_f1": pytest.approx(0.4),
            "majority": pytest.approx(2 / 3),
            "ece": pytest.approx(1 / 6),
        }
    }


def test_answers_without_confidence_have_no_calibration_error() -> None:
    rows = [Example(id="1", text="x", labels={"mood": ["calm"]})]
    found = metrics.evaluate(tiny.toy_schema(), rows, [{"mood": HeadPrediction(["calm"], None)}])
    assert found["mood"] == {"n": 1, "micro_f1": 1.0, "macro_f1": 1.0, "majority": 1.0, "ece": None}


def test_the_interval_of_an_accuracy_is_wilsons() -> None:
    # 81 of 263 is the worked example of Newcombe (1998), Statistics in Medicine 17, table I: 0.2553 to 0.3662
    low, high = metrics.accuracy_interval(81 / 263, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    assert metrics.accuracy_interval(1.0, 10)[1] == 1.0
