from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score
from sklearn.preprocessing import MultiLabelBinarizer

from ml import metrics
from ml.schema import Criterion, Group, Head, Kind
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
            "ece_interval": [pytest.approx(1 / 6), pytest.approx(1 / 2)],
            "ece_perfect": pytest.approx(0.25, abs=0.02),
        }
    }


def test_answers_without_confidence_have_no_calibration_error() -> None:
    rows = [Example(id="1", text="x", labels={"mood": ["calm"]})]
    found = metrics.evaluate(tiny.toy_schema(), rows, [{"mood": HeadPrediction(["calm"], None)}])
    nothing = {"ece": None, "ece_interval": None, "ece_perfect": None}
    assert found["mood"] == {"n": 1, "micro_f1": 1.0, "macro_f1": 1.0, "majority": 1.0, **nothing}


def test_the_interval_of_an_accuracy_is_wilsons() -> None:
    # 81 of 263 is the worked example of Newcombe (1998), Statistics in Medicine 17, table I: 0.2553 to 0.3662
    low, high = metrics.accuracy_interval(81 / 263, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    assert metrics.accuracy_interval(1.0, 10)[1] == 1.0


QUALITY = Head(
    "quality",
    "Quality",
    Kind.RUBRIC,
    "",
    groups=(
        Group("opening", "Opening", (Criterion("phrase", "", ""),)),
        Group("hold", "Hold", (Criterion("explains", "", ""), Criterion("thanks", "", ""))),
    ),
)


def rated(phrase, explains, thanks):
    return {"opening": {"phrase": phrase}, "hold": {"explains": explains, "thanks": thanks}}


def measured(head, truth, given):
    return metrics.evaluate_head(head, truth, given, rng=np.random.default_rng(0))


def test_a_rubric_is_measured_by_its_labelled_criteria() -> None:
    truth = [rated(True, None, None), rated(True, True, False), {"opening": {"phrase": False}}]
    given = [
        HeadPrediction(rated(True, None, None), 0.8),
        HeadPrediction(rated(True, True, None), 0.6),
        HeadPrediction(rated(True, False, False), 0.9),
    ]
    found = measured(QUALITY, truth, given)
    assert found["n"] == 3
    assert found["accuracy"] == pytest.approx(5 / 7)
    assert found["majority"] == pytest.approx((2 + 1 + 1) / 7)
    # phrase yes 4/5, no 0; explains n/a 1, yes 1; thanks n/a 2/3, no 0
    assert found["macro_f1"] == pytest.approx((4 / 5 + 0 + 1 + 1 + 2 / 3 + 0) / 6)
    assert found["ece"] == pytest.approx((0.2 + 0.6) / 2), "the case that is labelled in part does not count"


def test_a_rubric_labelled_nowhere_in_full_has_no_calibration_error() -> None:
    found = measured(QUALITY, [{"opening": {"phrase": False}}], [HeadPrediction(rated(False, None, None), 0.9)])
    assert (found["accuracy"], found["ece"]) == (1.0, None)


def test_spans_are_measured_without_what_is_empty_or_twice_and_calibrated_one_by_one() -> None:
    def span(start, end, **more):
        return {"start": start, "end": end, "label": "NAME", **more}

    truth = [[span(0, 4), span(0, 4), span(3, 3)], [], [span(5, 9)]]
    given = [
        HeadPrediction([span(0, 4, confidence=0.9), span(6, 8, confidence=0.3)], None),
        HeadPrediction([], None),
        HeadPrediction([span(5, 9, confidence=0.6)], None),
    ]
    found = measured(tiny.toy_schema().head("names"), truth, given)
    assert found["micro_f1"] == found["macro_f1"] == pytest.approx(2 * 2 / (2 + 3))
    assert found["majority"] == 0.0
    assert found["ece"] == pytest.approx((0.1 + 0.3 + 0.4) / 3)


def test_the_interval_of_a_calibration_error_holds_the_true_one_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(100):
        right = rng.random(400) < 0.6
        low, high = metrics.calibration_error_interval([0.9] * 400, right.tolist(), range(400), rng)
        held += low <= 0.3 <= high
    assert 88 <= held <= 100


def test_cases_with_many_answers_that_fall_together_widen_the_interval() -> None:
    rng = np.random.default_rng(2)
    right = np.repeat(rng.random(50) < 0.7, 10)
    apart = metrics.calibration_error_interval([0.9] * 500, right.tolist(), range(500), rng)
    together = metrics.calibration_error_interval([0.9] * 500, right.tolist(), np.repeat(range(50), 10).tolist(), rng)
    assert together[1] - together[0] > 2 * (apart[1] - apart[0])


def test_a_perfect_model_shows_the_error_that_chance_gives_it() -> None:
    rng = np.random.default_rng(3)
    levels = rng.random(300)
    shown = [metrics.calibration_error(levels, rng.random(300) < levels) for _ in range(300)]
    assert metrics.calibration_error_if_perfect(levels, rng) == pytest.approx(np.mean(shown), rel=0.05)
    assert metrics.calibration_error_if_perfect([1.0] * 50, rng) == 0.0


def test_large_sets_are_drawn_in_blocks(monkeypatch) -> None:
    levels, right = RNG.random(60), RNG.random(60) < 0.5
    whole = metrics.calibration_error_interval(levels, right, range(60), np.random.default_rng(0))
    monkeypatch.setattr(metrics, "MOST_AT_ONCE", 7 * 60)
    in_blocks = metrics.calibration_error_interval(levels, right, range(60), np.random.default_rng(0))
    assert in_blocks == pytest.approx(whole)


def test_figures_come_out_alike_every_time() -> None:
    rows = [Example(id=str(at), text="x", labels={"place": key}) for at, key in enumerate(["sea", "land"] * 9)]
    predictions = [{"place": HeadPrediction("sea", 0.6)}] * 18
    first, again = (metrics.evaluate(tiny.toy_schema(), rows, predictions) for _ in range(2))
    assert first == again
