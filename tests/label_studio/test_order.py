"""The order in which a real Label Studio serves cases, beside ours."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from tests.conftest import case_named, helpline_prediction, predict, trained_version
from tests.label_studio.conftest import NEGLECT, in_label_studio, make_due, next_case, submit, use
from webapp.actions import label_studio as sync
from webapp.models import Case, CaseState
from webapp.roles import Role

pytestmark = [pytest.mark.label_studio, pytest.mark.usefixtures("embedded")]

CASES = 16


def sureness(seed: int) -> dict[str, float]:
    """How sure a version is of each case, in no order that another version has."""
    levels = [0.2 + 0.45 * number / CASES for number in range(CASES)]
    np.random.default_rng(seed).shuffle(levels)
    return {f"case {number}": level for number, level in enumerate(levels)}


def ours() -> list[str]:
    """The cases that still wait, in the order of our queue."""
    waiting = Case.objects.filter(state=CaseState.LABELLING).order_by("-rank", "id")
    return list(waiting.values_list("external_id", flat=True))


def test_two_annotators_are_served_in_our_order_with_a_change_of_version_in_the_middle(
    flagged, helpline_at, person, capsys
) -> None:
    for external_id, sure in sureness(1).items():
        flagged(external_id, sure=sure)
    sync.deliver()
    wanted, served = [], []
    with (
        in_label_studio(person(Role.ANNOTATOR, "wambui")) as one,
        in_label_studio(person(Role.ANNOTATOR, "kamau")) as other,
    ):
        before = ours()
        wanted += before[: CASES // 2]
        for _ in range(CASES // 4):
            served += both(one, other)
        sync.poll_all()
        champion = use(trained_version(helpline_at, 2))
        for external_id in ours():
            predict(champion, external_id, helpline_prediction(sure=sureness(2)[external_id]))
        assert ours() != before[CASES // 2 :], "the new version orders otherwise"
        wanted += ours()
        make_due()
        sync.deliver()
        for _ in range(CASES // 4):
            served += both(one, other)
        assert (next_case(one), next_case(other)) == (None, None)
    places = [wanted.index(external_id) for external_id in served]
    correlation = float(spearmanr(range(CASES), places).statistic)
    with capsys.disabled():
        print(f"\nrank correlation of {CASES} cases as served with our order: {correlation:.3f}")  # noqa: T201
    assert correlation == pytest.approx(1.0)


def both(one, other) -> list[str]:
    """Serve one case to each before either answers, as two people at work are; return the cases in that order."""
    found = [next_case(one), next_case(other)]
    for http, external_id in zip((other, one), reversed(found), strict=True):
        submit(http, case_named(external_id), NEGLECT)
    return found
