from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import curve_fit

from ml import stopping
from ml.stopping import Curve

SIZES = [50, 100, 150, 200, 300, 400, 600]
KNOWN = Curve(floor=0.1, scale=3.0, rate=0.5)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def scores(curve: Curve, sizes: list[int] = SIZES, *, noise: float = 0.0, seed: int = 0) -> list[float]:
    moved = noise * np.random.default_rng(seed).standard_normal(len(sizes))
    return [1 - curve.error(size) + by for size, by in zip(sizes, moved, strict=True)]


def flip(answers: list[str], count: int, *, seed: int) -> list[str]:
    rows = set(np.random.default_rng(seed).choice(len(answers), count, replace=False).tolist())
    return [{"a": "b", "b": "a"}[answer] if row in rows else answer for row, answer in enumerate(answers)]


def test_a_curve_without_noise_is_recovered() -> None:
    found = stopping.fit(SIZES, [KNOWN.error(size) for size in SIZES])
    assert found.rate == pytest.approx(0.5, rel=0.03)
    assert found.floor == pytest.approx(0.1, abs=0.005)
    for size in [*SIZES, 2000, 10_000]:
        assert found.error(size) == pytest.approx(KNOWN.error(size), abs=0.002)


def test_a_curve_is_as_near_as_that_of_an_optimiser() -> None:
    errors = 1 - np.array(scores(KNOWN, noise=0.02))
    weights = np.arange(1, len(SIZES) + 1) / len(SIZES)

    def law(n, floor, scale, rate):
        return floor + scale * n**-rate

    best, _ = curve_fit(
        law, SIZES, errors, p0=[0.1, 1, 0.5], sigma=weights**-0.5, bounds=([0, 0, 0.05], [1, np.inf, 2]), maxfev=20_000
    )
    found = stopping.fit(SIZES, errors)
    ours, theirs = (
        float((weights * (law(np.array(SIZES), *curve) - errors) ** 2).sum())
        for curve in ((found.floor, found.scale, found.rate), best)
    )
    assert ours <= theirs * 1.01


def test_a_forecast_says_what_more_labels_buy() -> None:
    found = stopping.forecast(SIZES, scores(KNOWN), 600, tested=2000, rng=rng())
    assert found is not None
    gain = KNOWN.error(600) - KNOWN.error(1200)
    assert (found.labels, found.more) == (600, 600)
    assert found.score == pytest.approx(1 - KNOWN.error(600), abs=0.002)
    assert found.gain == pytest.approx(gain, abs=0.002)
    assert found.interval[0] < gain < found.interval[1]
    assert found.ceiling == pytest.approx(0.9, abs=0.005)
    assert str(found) == "600 more labels buy about 3.6 points ({:.1f} to {:.1f})".format(
        *(100 * end for end in found.interval)
    )


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    gain, noise = KNOWN.error(600) - KNOWN.error(1200), 0.015
    held = 0
    for seed in range(60):
        found = stopping.forecast(SIZES, scores(KNOWN, noise=noise, seed=seed), 600, tested=10**9, rng=rng())
        held += found.interval[0] <= gain <= found.interval[1]
    assert held >= 0.85 * 60


def test_fewer_test_cases_make_a_wider_interval() -> None:
    def width(tested: int) -> float:
        low, high = stopping.forecast(SIZES, scores(KNOWN), 600, tested=tested, rng=rng()).interval
        return high - low

    assert width(100) > 2 * width(2000)
    assert width(10**12) < 0.001


def test_labels_that_change_nothing_buy_nothing() -> None:
    found = stopping.forecast(SIZES, [0.7] * len(SIZES), 100, tested=10**12, rng=rng())
    assert found.gain == pytest.approx(0.0, abs=1e-9)
    assert found.score == pytest.approx(0.7)


def test_scores_that_fall_promise_nothing() -> None:
    found = stopping.forecast(SIZES, np.linspace(0.8, 0.7, len(SIZES)).tolist(), 100, tested=200, rng=rng())
    assert found.gain == pytest.approx(0.0, abs=1e-9)


def test_a_steep_curve_never_promises_more_than_everything() -> None:
    found = stopping.forecast([10, 20, 30, 40], [0.2, 0.6, 0.8, 0.9], 10**6, tested=50, rng=rng())
    assert found.score + found.gain <= 1.0
    assert found.ceiling <= 1.0
    assert found.curve.floor >= 0.0


def test_the_order_of_the_models_does_not_matter() -> None:
    values = scores(KNOWN, noise=0.01)
    assert stopping.fit(SIZES, values) == stopping.fit(SIZES[::-1], values[::-1])


def test_too_few_models_tell_no_curve() -> None:
    assert stopping.forecast([50, 100, 150, 150], [0.5, 0.6, 0.7, 0.7], 50, tested=100, rng=rng()) is None


def test_three_kappas_of_99_hundredths_on_average_are_stable() -> None:
    first = ["a", "b"] * 1000
    second = flip(first, 30, seed=0)  # Kappa 0.97
    found = stopping.stability([first, second, second, second, second])
    assert found.n == 2000
    assert found.kappas == pytest.approx((0.97, 1.0, 1.0, 1.0), abs=0.001)
    assert (found.mean, found.is_stable) == (1.0, True)
    assert stopping.stability([first, second, second, second]).mean == pytest.approx(0.99, abs=0.0005)
    third = flip(first, 60, seed=0)  # Kappa 0.94: the mean is 0.98
    assert not stopping.stability([first, third, third, third]).is_stable


def test_kappas_before_the_window_are_forgotten() -> None:
    first, other = ["a", "b"] * 50, ["a", "a", "b", "b"] * 25
    assert stopping.stability([first, other, other, other]).is_stable is False
    assert stopping.stability([first, other, other, other, other]).is_stable is True


def test_three_models_are_too_few() -> None:
    found = stopping.stability([["a", "b"]] * 3)
    assert (found.kappas, found.mean, found.is_stable) == ((1.0, 1.0), None, False)
    assert stopping.stability([]).n == 0


def test_models_that_always_answer_the_same_are_not_stable_for_it() -> None:
    found = stopping.stability([["a"] * 10] * 5)
    assert (found.kappas, found.mean, found.is_stable) == ((None,) * 4, None, False)


def test_sets_of_labels_count_as_a_whole_whatever_their_order() -> None:
    one, other = [["calm", "loud"], ["calm"], []] * 10, [["loud", "calm"], ["calm"], []] * 10
    assert stopping.stability([one, other, one, other]).kappas == (1.0, 1.0, 1.0)
