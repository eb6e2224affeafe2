"""Cases that two annotators answer in a real Label Studio."""

from __future__ import annotations

import pytest

from tests.conftest import case_named, change_policy
from tests.label_studio.conftest import ABUSE, NEGLECT, in_label_studio, labels_of, next_case, submit
from webapp.actions import label_studio as sync
from webapp.models import Case, CaseState
from webapp.roles import Role

pytestmark = [pytest.mark.label_studio, pytest.mark.usefixtures("embedded")]


def test_a_case_for_two_is_served_to_a_second_annotator_and_the_others_to_one(flagged, helpline_at, person) -> None:
    change_policy(helpline_at, overlap_share=1.0)
    for external_id, sure in (("agreed", 0.3), ("disputed", 0.4)):
        flagged(external_id, sure=sure)
    change_policy(helpline_at, overlap_share=0.0)
    flagged("single", sure=0.2)
    sync.deliver()
    with in_label_studio(person(Role.ANNOTATOR, "wambui")) as first:
        for external_id in ("single", "agreed", "disputed"):
            assert next_case(first) == external_id
            submit(first, case_named(external_id), NEGLECT)
        assert next_case(first) is None
    sync.poll_all()
    assert states() == {"single": CaseState.DECIDED, "agreed": CaseState.LABELLING, "disputed": CaseState.LABELLING}
    with in_label_studio(person(Role.ANNOTATOR, "kamau")) as second:
        for external_id, answers in (("agreed", NEGLECT), ("disputed", ABUSE)):
            assert next_case(second) == external_id
            submit(second, case_named(external_id), answers)
        assert next_case(second) is None
    sync.poll_all()
    assert states() == {"single": CaseState.DECIDED, "agreed": CaseState.DECIDED, "disputed": CaseState.REVIEW}
    assert labels_of(case_named("agreed")) == NEGLECT
    by = case_named("disputed").annotations.values_list("annotator__user__username", flat=True)
    assert sorted(by) == ["kamau", "wambui"]


def states() -> dict[str, str]:
    return dict(Case.objects.values_list("external_id", "state"))
