"""The ledger says which version is in use."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.conftest import change_policy, trained_version
from webapp.actions import promotions, snapshots
from webapp.errors import NotPromotable
from webapp.models import AuditEvent, Evaluation, ModelVersion, Promotion, SchemaVersion
from webapp.queries import gate, ledger, schemas
from webapp.roles import Role


def test_before_the_first_promotion_the_definitions_answer(helpline) -> None:
    trained_version(helpline)
    assert schemas.champion(helpline) is None
    assert schemas.answering_version(helpline) == helpline.model_versions.get(kind="definitions")


def test_the_newest_row_of_the_ledger_names_the_version_in_use(helpline, person) -> None:
    admin, first, second = person(Role.ADMIN), trained_version(helpline, 1), trained_version(helpline, 2)
    promotions.promote(first, by=admin, reason="the first")
    promotions.promote(second, by=admin, reason="better")
    assert schemas.champion(helpline) == schemas.answering_version(helpline) == second
    rows = Promotion.objects.order_by("pk").values_list("version", "replaced", "reason", "promoted_by")
    assert list(rows) == [(first.pk, None, "the first", admin.pk), (second.pk, first.pk, "better", admin.pk)]
    events = AuditEvent.objects.filter(action="version promoted").order_by("pk")
    assert list(events.values_list("subject", "facts")) == [
        (f"version {first.pk}", {"replaced": None}),
        (f"version {second.pk}", {"replaced": first.pk}),
    ]


def test_an_earlier_version_can_be_put_in_use_again(helpline) -> None:
    first, second = trained_version(helpline, 1), trained_version(helpline, 2)
    for version in (first, second, first):
        promotions.promote(version, by=None, reason="a test")
    assert schemas.champion(helpline) == first
    assert list(Promotion.objects.order_by("pk").values_list("version", flat=True)) == [
        first.pk,
        second.pk,
        first.pk,
    ]


def test_a_version_that_is_in_use_cannot_be_promoted(helpline) -> None:
    version = trained_version(helpline, 1)
    promotions.promote(version, by=None, reason="the first")
    with pytest.raises(NotPromotable, match=r"^Version 1 is in use already\.$"):
        promotions.promote(version, by=None, reason="again")
    assert Promotion.objects.get().reason == "the first"


def test_the_label_definitions_cannot_be_promoted(helpline) -> None:
    with pytest.raises(NotPromotable, match=r"^The label definitions are not a trained version; train one first\.$"):
        promotions.promote(ModelVersion.objects.get(schema=helpline), by=None, reason="why not")
    assert list(Promotion.objects.all()) == []


def test_a_version_of_an_older_schema_cannot_be_promoted(helpline) -> None:
    version = trained_version(helpline, 1)
    document = helpline.versions.get().document
    SchemaVersion.objects.create(schema=helpline, number=9, document=document, digest="x")
    with pytest.raises(NotPromotable, match=r"^Version 1 was trained for an older schema; train one for helpline 9\.$"):
        promotions.promote(version, by=None, reason="why not")


def test_open_cases_are_predicted_again_only_after_the_commit(
    helpline, sent, django_capture_on_commit_callbacks
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        promotions.promote(trained_version(helpline), by=None, reason="the first")
        assert sent == []
    assert sent == [("predict_cases", helpline.pk)]


# --- The gate --------------------------------------------------------------------------------------------------------


@pytest.fixture
def measured(helpline) -> Callable[[str], ModelVersion]:
    """Version 2, of which the gate says what is given, beside version 1, which is in use."""

    def make(verdict: str) -> ModelVersion:
        champion, challenger = trained_version(helpline, 1), trained_version(helpline, 2)
        promotions.promote(champion, by=None, reason="the first")
        found = {"verdict": verdict, "sentence": f"{verdict.title()}: so and so.", "n": 150}
        snapshot = snapshots.take(helpline.versions.get())
        Evaluation.objects.create(version=challenger, snapshot=snapshot, heads={}, compared_with=champion, gate=found)
        return challenger

    return make


@pytest.mark.parametrize("verdict", ["better", "open"])
def test_what_the_gate_said_is_frozen_with_the_promotion(measured, person, verdict) -> None:
    challenger = measured(verdict)
    row = promotions.promote(challenger, by=person(Role.ADMIN), reason="it was looked at")
    sentence = f"{verdict.title()}: so and so."
    assert row.report["gate"] == {"verdict": verdict, "sentence": sentence, "n": 150}
    assert row.report["is_overridden"] is False


def test_a_veto_refuses_unless_a_person_overrides_it_and_the_log_keeps_that(measured, person, helpline) -> None:
    challenger, admin = measured("refused"), person(Role.ADMIN)
    message = r"^Refused: so and so\. Only a person who overrides this, with a reason, puts it in use\.$"
    for refused in ({"by": admin}, {"by": None, "override": True}):
        with pytest.raises(NotPromotable, match=message):
            promotions.promote(challenger, reason="we want it", **refused)
    assert schemas.champion(helpline).number == 1
    row = promotions.promote(challenger, by=admin, reason="fewer false alarms", override=True)
    assert (row.reason, row.report["is_overridden"], row.report["gate"]["verdict"]) == (
        "fewer false alarms",
        True,
        "refused",
    )
    event = AuditEvent.objects.get(action="gate overridden")
    assert (event.actor, event.subject, event.facts) == (admin, f"version {challenger.pk}", {"promotion": row.pk})


@pytest.mark.parametrize("reason", ["", "  ok ", "x" * 501])
def test_without_a_reason_nothing_is_promoted_by_any_way(measured, person, reason) -> None:
    with pytest.raises(NotPromotable, match=r"^Say in a few words why"):
        promotions.promote(measured("open"), by=person(Role.ADMIN), reason=reason)


def test_a_verdict_beside_another_version_than_the_one_in_use_counts_no_more(measured, helpline) -> None:
    challenger, third = measured("refused"), trained_version(helpline, 3)
    promotions.promote(third, by=None, reason="another")
    standing = gate.standing(challenger)
    assert (standing.verdict, standing.sentence) == (
        "open",
        "A person decides: it was not compared with version 3, which is in use.",
    )


def test_policy_alone_promotes_what_is_better_and_nothing_else(measured, helpline) -> None:
    challenger = measured("better")
    assert promotions.promote_if_better(challenger) is None, "a person decides, until the policy says otherwise"
    change_policy(helpline, gate={"is_automatic": True})
    Evaluation.objects.update(gate={"verdict": "open", "sentence": "A person decides."})
    assert promotions.promote_if_better(challenger) is None
    Evaluation.objects.update(gate={"verdict": "better", "sentence": "Better: so and so."})
    row = promotions.promote_if_better(challenger)
    assert (row.version, row.promoted_by, row.reason) == (challenger, None, "Better: so and so.")


def test_a_version_whose_files_are_gone_is_not_put_in_use(helpline) -> None:
    version = trained_version(helpline, 1)
    version.folder = "no-such-folder"
    with pytest.raises(NotPromotable, match=r"^The files of version 1 are gone; train another\.$"):
        promotions.promote(version, by=None, reason="the first")


# --- Going back ------------------------------------------------------------------------------------------------------


@pytest.fixture
def three(helpline) -> list[ModelVersion]:
    """Versions that were put in use one after the other."""
    found = [trained_version(helpline, number) for number in (1, 2, 3)]
    for version in found:
        promotions.promote(version, by=None, reason="better")
    return found


def test_going_back_twice_leads_to_what_was_in_use_before_and_before_that(three, helpline, person) -> None:
    admin, (first, second, third) = person(Role.ADMIN), three
    assert promotions.roll_back(third, by=admin, reason="missed an urgent call").version == second
    assert promotions.roll_back(second, by=admin, reason="so did this").version == first
    with pytest.raises(NotPromotable, match=r"^No version was in use before version 1\.$"):
        promotions.roll_back(first, by=admin, reason="and this")
    assert schemas.champion(helpline) == first
    events = AuditEvent.objects.filter(action="version rolled back").order_by("pk")
    assert list(events.values_list("actor", "subject", "facts")) == [
        (admin.pk, f"version {second.pk}", {"replaced": third.pk}),
        (admin.pk, f"version {first.pk}", {"replaced": second.pk}),
    ]


def test_after_going_back_a_new_promotion_is_what_one_goes_back_from(three, helpline) -> None:
    _, second, third = three
    promotions.roll_back(third, by=None, reason="worse")
    fourth = trained_version(helpline, 4)
    promotions.promote(fourth, by=None, reason="better")
    assert ledger.earlier(helpline) == second


def test_two_who_go_back_at_once_go_back_once(three, helpline) -> None:
    _, second, third = three
    promotions.roll_back(third, by=None, reason="worse")
    with pytest.raises(NotPromotable, match=r"^Version 3 is not in use any more; look at the ledger\.$"):
        promotions.roll_back(third, by=None, reason="worse")
    assert schemas.champion(helpline) == second


def test_going_back_does_not_ask_the_gate_and_needs_a_reason(three) -> None:
    with pytest.raises(NotPromotable, match=r"^Say in a few words why"):
        promotions.roll_back(three[2], by=None, reason="")
    row = promotions.roll_back(three[2], by=None, reason="worse")
    assert (row.is_rollback, "gate" in row.report) == (True, False)


def test_the_ledger_tells_what_was_in_use_from_when_to_when(three, helpline) -> None:
    first, second, third = Promotion.objects.order_by("pk")
    assert ledger.reigns(helpline) == [
        ledger.Reign(third, None),
        ledger.Reign(second, third.promoted_at),
        ledger.Reign(first, second.promoted_at),
    ]
    at = [second.promoted_at, first.promoted_at - timedelta(seconds=1), third.promoted_at]
    assert [[reign.promotion for reign in ledger.reigns(helpline) if reign.covers(moment)] for moment in at] == [
        [second],
        [],
        [third],
    ]
    assert [ledger.until(row) for row in (first, third)] == [second.promoted_at, None]
