from __future__ import annotations

import krippendorff
import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from ml import agreement, disagreement
from ml.agreement import Agreement
from ml.schema import Criterion, Group, Head, Kind, Label
from tests import tiny

SCHEMA = tiny.toy_schema()
# Krippendorff (2011), section C: four observers, twelve units, and missing answers
OBSERVERS = """
1 2 3 3 2 1 4 1 2 . . .
1 2 3 3 2 2 4 1 2 5 . 3
. 3 3 3 2 3 4 2 2 5 1 .
1 2 3 3 2 4 4 1 2 5 1 .
"""
UNITS = [
    [answer for answer in unit if answer != "."]
    for unit in zip(*map(str.split, OBSERVERS.strip().split("\n")), strict=True)
]
# Cohen (1960), table 1: how two judges share 200 cases among three diagnoses
JUDGES = [[50, 26, 24], [24, 4, 32], [6, 30, 4]]


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def spans(*ranges: tuple[int, int, str]) -> list:
    return [{"start": start, "end": end, "label": label} for start, end, label in ranges]


def level(*keys: str, ordered: bool) -> Head:
    labels = tuple(Label(key, key, key) for key in keys)
    return Head("level", "Level", Kind.CHOICE, "", labels, ordered=ordered)


def test_kappa_of_the_example_of_cohen() -> None:
    pairs = [(one, other) for one in range(3) for other in range(3) for _ in range(JUDGES[one][other])]
    found = agreement.kappa([one for one, _ in pairs], [other for _, other in pairs], rng())
    assert (found.n, found.value) == (200, pytest.approx((0.29 - 0.35) / (1 - 0.35)))
    assert found.interval == pytest.approx((-0.18, 0.0), abs=0.02)


def test_kappa_is_that_of_scikit_learn_for_answers_of_any_type() -> None:
    first, second = rng().integers(4, size=(2, 100))
    sets = [[frozenset([f"label {value}"]) for value in values] for values in (first, second)]
    assert agreement.kappa(*sets, rng()).value == pytest.approx(cohen_kappa_score(first, second))


def test_kappa_says_nothing_where_all_answers_are_alike() -> None:
    assert agreement.kappa(["a"] * 9, ["a"] * 9, rng()) == Agreement(9, None, None)
    assert agreement.kappa([], [], rng()) == Agreement(0, None, None)
    assert agreement.kappa(["a", "b"], ["a", "b"], rng()) == Agreement(2, 1.0, (1.0, 1.0))


def test_kappa_of_unlike_numbers_of_answers_is_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        agreement.kappa(["a", "b"], ["a"], rng())


@pytest.mark.parametrize(("ordered", "value"), [(False, 0.743), (True, 0.815)], ids=["nominal", "ordinal"])
def test_alpha_of_the_example_of_krippendorff(ordered: bool, value: float) -> None:
    head = level(*"12345", ordered=ordered)
    cases = [{str(at): answer for at, answer in enumerate(unit)} for unit in UNITS]
    found = agreement.of_head(head, cases, rng())["alpha"]
    assert found.n == 11, "one unit has one answer"
    assert found.value == pytest.approx(value, abs=0.0005)
    assert found.interval is not None
    assert 0.3 < found.interval[0] < value - 0.1 < value + 0.1 < found.interval[1] <= 1.0


def test_an_ordered_head_forgives_neighbours_more_than_strangers() -> None:
    near, far = ([["1", "1"], ["2", "2"], ["3", "3"], ["1", other]] * 9 for other in "23")
    alphas = [agreement.alpha(cases, rng(), order=["1", "2", "3"]).value for cases in (near, far)]
    assert alphas[0] > alphas[1]


def test_the_interval_of_alpha_narrows_with_more_cases() -> None:
    def width(times: int) -> float:
        low, high = agreement.alpha(UNITS * times, rng()).interval
        return high - low

    assert width(16) == pytest.approx(width(1) / 4, rel=0.3)


def test_alpha_of_one_answer_only_is_undefined() -> None:
    assert agreement.alpha([["a", "a"], ["a", "a"], ["b"]], rng()) == Agreement(2, None, None)


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [
        pytest.param("ab", "ab", 0.0, id="the same"),
        pytest.param("", "", 0.0, id="both empty"),
        pytest.param("ab", "abcd", 1 - 2 / 3 * 2 / 4, id="a part"),
        pytest.param("abc", "bcd", 1 - 1 / 3 * 2 / 4, id="some in common"),
        pytest.param("ab", "cd", 1.0, id="nothing in common"),
        pytest.param("", "a", 1.0, id="one empty"),
    ],
)
def test_sets_are_apart_as_passonneau_says(one: str, other: str, distance: float) -> None:
    sets = frozenset(one), frozenset(other)
    assert disagreement.masi(*sets) == disagreement.masi(*reversed(sets)) == pytest.approx(distance)


def test_sets_that_agree_in_part_count_in_part() -> None:
    head = SCHEMA.head("mood")
    cases = [{"ann": ["calm"], "ben": ["calm"]}, {"ann": ["loud"], "ben": ["calm", "loud"]}, {"ann": ["loud"]}] * 20
    found = agreement.of_head(head, cases, rng())
    assert list(found) == ["alpha", "alpha calm", "alpha loud"]
    # Observed: half of the pairs are 2/3 apart. Expected: 80 answers, calm 40, loud 20, both 20; calm and loud are 1
    # apart, and either is 2/3 from both
    expected = 2 * (40 * 20 * 1 + 40 * 20 * 2 / 3 + 20 * 20 * 2 / 3) / (80 * 79)
    assert found["alpha"].n == 40
    assert found["alpha"].value == pytest.approx(1 - (1 / 3) / expected)
    assert found["alpha loud"].value == 1.0
    assert found["alpha calm"].value < 0


def test_spans_agree_exactly_or_in_part() -> None:
    ann = spans((0, 4, "NAME"), (10, 14, "NAME"), (20, 24, "PLACE"), (30, 34, "NAME"))
    ben = spans((0, 4, "NAME"), (10, 18, "NAME"), (20, 24, "NAME"))
    found = agreement.of_head(SCHEMA.head("names"), [{"ann": ann, "ben": ben}] * 3, rng())
    assert found["exact_f1"] == Agreement(3, pytest.approx(2 * 1 / 7), pytest.approx((2 / 7, 2 / 7)))
    assert found["partial_f1"].value == pytest.approx(2 * 2 / 7)


def test_spans_of_three_people_are_compared_two_by_two() -> None:
    one, two = spans((0, 4, "NAME")), spans((0, 4, "NAME"), (8, 9, "NAME"))
    found = agreement.of_head(SCHEMA.head("names"), [{"a": one, "b": one, "c": two}, {"a": two}], rng())
    assert (found["exact_f1"].n, found["exact_f1"].value) == (1, pytest.approx(2 * 3 / 8))


def test_spans_that_touch_do_not_overlap() -> None:
    held = [[frozenset([(0, 4, "NAME")]), frozenset([(4, 8, "NAME")])]]
    assert agreement.span_f1(held, rng(), is_partial=True).value == 0.0


def test_people_who_all_found_no_span_say_nothing() -> None:
    empty = {"ann": [], "ben": []}
    assert agreement.of_head(SCHEMA.head("names"), [empty], rng())["exact_f1"] == Agreement(1, None, None)


def test_a_rubric_is_compared_criterion_by_criterion() -> None:
    group = Group("hold", "Hold", (Criterion("asks", "Asks", ""), Criterion("thanks", "Thanks", "")))
    head = Head("manner", "Manner", Kind.RUBRIC, "", groups=(group,))
    cases = [
        {"ann": {"hold": {"asks": True, "thanks": True}}, "ben": {"hold": {"asks": True, "thanks": False}}},
        {"ann": {"hold": {"asks": None, "thanks": False}}, "ben": {"hold": {"asks": None, "thanks": True}}},
    ] * 10
    found = agreement.of_head(head, cases, rng())
    assert list(found) == ["alpha", "alpha hold.asks", "alpha hold.thanks"]
    assert found["alpha hold.asks"].value == 1.0
    assert found["alpha hold.thanks"].value == pytest.approx(1 - 1 / (20 / 39))
    # Half of 40 pairs differ; of 80 marks 40 are yes, 20 no and 20 not applicable
    assert found["alpha"].value == pytest.approx(1 - 0.5 / (2 * (40 * 20 + 40 * 20 + 20 * 20) / (80 * 79)))
    assert found["alpha"].n == 20


@pytest.mark.parametrize("ordered", [False, True], ids=["nominal", "ordinal"])
def test_alpha_and_its_interval_are_those_of_the_reference(ordered: bool) -> None:
    head = level(*"1234", ordered=ordered)
    truth = rng().integers(4, size=60)
    wrong = rng().random((60, 3)) < 0.3
    said = np.where(wrong, rng().integers(4, size=(60, 3)), truth[:, None])
    cases = [{str(who): str(one + 1) for who, one in enumerate(case)} for case in said]
    found = agreement.of_head(head, cases, rng())["alpha"]
    measure = "ordinal" if ordered else "nominal"
    assert found.value == pytest.approx(krippendorff.alpha(said.T, level_of_measurement=measure))
    places = rng().integers(60, size=(1000, 60))
    drawn = [krippendorff.alpha(said[place].T, level_of_measurement=measure) for place in places]
    assert found.interval == pytest.approx(np.quantile(drawn, [0.025, 0.975]))


def test_two_people_agree_beyond_chance_over_all_criteria_of_a_rubric() -> None:
    group = Group("hold", "Hold", (Criterion("asks", "Asks", ""), Criterion("thanks", "Thanks", "")))
    head = Head("manner", "Manner", Kind.RUBRIC, "", groups=(group,))
    same = {"hold": {"asks": True, "thanks": None}}
    cases = [(same, same), (same, {"hold": {"asks": False}}), ({"hold": {"thanks": None}}, {"hold": {"asks": True}})]
    found = agreement.of_pair(head, cases, rng())["kappa"]
    # Both answered three criteria in two cases: yes yes, na na, yes no
    assert (found.n, found.value) == (2, pytest.approx((2 / 3 - (2 / 3 * 1 / 3 + 1 / 3 * 1 / 3)) / (1 - 1 / 3)))


def test_two_people_are_compared_by_what_fits_the_head() -> None:
    moods = Head("moods", "Moods", Kind.CHOICES, "", tuple(Label(key, key, key) for key in ("calm", "loud")))
    tags = agreement.of_pair(moods, [(["calm"], ["calm"]), (["loud"], ["calm", "loud"])] * 9, rng())
    names = agreement.of_pair(SCHEMA.head("names"), [(spans((0, 4, "NAME")), spans((0, 6, "NAME")))] * 9, rng())
    choice = agreement.of_pair(level(*"12", ordered=True), [("1", "1"), ("2", "1"), ("2", "2")] * 9, rng())
    assert (list(tags), tags["alpha"].n, 0 < tags["alpha"].value < 1) == (["alpha"], 18, True)
    assert {name: one.value for name, one in names.items()} == {"exact_f1": 0.0, "partial_f1": 1.0}
    assert choice["kappa"].value == pytest.approx((2 / 3 - 4 / 9) / (5 / 9))
