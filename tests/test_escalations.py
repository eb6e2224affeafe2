"""Raising the alarm: one key, whatever the model said, and an alert that stays until somebody takes it on."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client

from tests.conftest import case_named, helpline_prediction, listing, predict, trained_version
from webapp.actions import escalations, reviews
from webapp.errors import NotAcknowledgeable
from webapp.models import Acknowledgement, AuditEvent, Case, CaseState, Escalation, Outbox
from webapp.queries import alerts
from webapp.roles import Role

PAGES = ("/", "/queue/", "/models/", "/status/", "/alerts/")


@pytest.fixture
def calm(helpline, import_rows) -> Case:
    """A case that the model is sure of and finds harmless."""
    import_rows(helpline, {"id": "1", "text": "Caller: Thank you."})
    return predict(trained_version(helpline), "1", helpline_prediction(sure=0.99, urgent=0.0))


def test_an_alert_stays_on_the_pages_of_supervisors_and_admins_until_acknowledged(calm, signed_in) -> None:
    desk, other, admin = signed_in(Role.SUPERVISOR, "a"), signed_in(Role.SUPERVISOR, "b"), signed_in(Role.ADMIN, "c")
    assert case_named("1").state == CaseState.ACCEPTED
    desk.post(f"/cases/{calm.pk}/escalate/", {"note": "she whispered"})
    for client in (desk, other, admin):
        for page in PAGES:
            assert "by a at" in client.get(page).content.decode(), page
    assert "by a at" in other.get("/alerts/bar/").content.decode()
    escalation = Escalation.objects.get()
    assert other.post(f"/alerts/{escalation.pk}/acknowledge/")["Location"] == f"/cases/{calm.pk}/"
    for client in (desk, other, admin):
        assert "by a at" not in client.get("/queue/").content.decode()


def test_an_open_page_is_told_of_what_is_new_and_of_nothing_twice(calm, signed_in, person) -> None:
    desk = signed_in(Role.SUPERVISOR)
    assert '/alerts/bar/?known="' in desk.get("/queue/").content.decode()
    assert desk.get("/alerts/bar/?known=").status_code == 204
    escalation = escalations.escalate(calm, person(Role.ADMIN))
    assert f"/alerts/bar/?known={escalation.pk}," in desk.get("/alerts/bar/?known=").content.decode()
    assert desk.get(f"/alerts/bar/?known={escalation.pk},").status_code == 204


def test_an_annotator_sees_no_alerts_and_may_not_escalate_a_case_of_others(calm, signed_in) -> None:
    client = signed_in(Role.ANNOTATOR)
    assert client.post(f"/cases/{calm.pk}/escalate/").status_code == 404
    escalations.escalate(calm, client.get("/label/").wsgi_request.user)
    assert 'id="alerts"' not in client.get("/label/").content.decode()


def test_an_escalated_case_is_reviewed_and_stays_so_whatever_the_next_version_says(helpline, calm, person) -> None:
    escalations.escalate(calm, person(Role.SUPERVISOR))
    predict(trained_version(helpline, 2), "1", helpline_prediction(sure=0.99, urgent=0.0))
    assert case_named("1").state == CaseState.REVIEW
    (row,) = listing().rows
    assert row.reason == "escalation"


def test_a_case_that_no_model_has_seen_can_be_escalated(helpline, import_rows, person) -> None:
    import_rows(helpline, {"id": "1", "text": "a"})
    escalations.escalate(case_named("1"), person(Role.SUPERVISOR))
    assert case_named("1").state == CaseState.REVIEW


def test_escalating_leaves_open_forms_and_the_decision_as_they_are(calm, person) -> None:
    Case.objects.update(state=CaseState.DECIDED)
    escalations.escalate(calm, person(Role.SUPERVISOR))
    assert (case_named("1").state, case_named("1").revision) == (CaseState.DECIDED, 0)
    assert [one.case for one in alerts.open_ones()] == [calm]


def test_the_same_key_twice_raises_one_alert_and_after_it_was_acknowledged_another(calm, person) -> None:
    supervisor, admin = person(Role.SUPERVISOR), person(Role.ADMIN)
    first = escalations.escalate(calm, supervisor)
    assert escalations.escalate(calm, supervisor) == first
    escalations.acknowledge(first, admin)
    escalations.acknowledge(first, admin)
    assert escalations.escalate(calm, supervisor) != first
    assert Acknowledgement.objects.count() == 1


def test_another_person_or_another_note_is_another_alert(calm, person) -> None:
    supervisor, admin = person(Role.SUPERVISOR), person(Role.ADMIN)
    found = [
        escalations.escalate(calm, supervisor, note="she whispered"),
        escalations.escalate(calm, admin),
        escalations.escalate(calm, supervisor, note="she hung up"),
    ]
    assert alerts.open_ones() == found
    assert escalations.escalate(calm, supervisor) == found[0]


def test_what_was_sent_back_while_its_alert_is_open_comes_into_review_when_escalated_again(calm, person) -> None:
    supervisor = person(Role.SUPERVISOR)
    escalations.escalate(calm, supervisor)
    reviews.send_back(case_named("1"), supervisor, revision=0, note="again")
    assert case_named("1").state == CaseState.LABELLING
    escalations.escalate(calm, supervisor)
    assert case_named("1").state == CaseState.REVIEW
    assert [flag.kind for flag in case_named("1").flags.filter(resolved_at=None)] == ["escalation"]


def test_who_raised_an_alert_cannot_be_the_one_who_acknowledges_it(calm, signed_in) -> None:
    desk = signed_in(Role.SUPERVISOR)
    desk.post(f"/cases/{calm.pk}/escalate/")
    answer = desk.post(f"/alerts/{Escalation.objects.get().pk}/acknowledge/", follow=True)
    assert "another supervisor or an admin has to acknowledge it" in answer.content.decode()
    with pytest.raises(NotAcknowledgeable):
        escalations.acknowledge(Escalation.objects.get(), Escalation.objects.get().person)
    assert not Acknowledgement.objects.exists()


def test_the_time_to_the_acknowledgement_is_measured_and_told(calm, person, signed_in) -> None:
    escalation = escalations.escalate(calm, person(Role.SUPERVISOR, "a"))
    with connection.cursor() as cursor:  # Rows are only added, so the clock is turned back before the trigger is
        cursor.execute("set constraints all immediate")
        cursor.execute("alter table webapp_escalation disable trigger append_only")
        cursor.execute("update webapp_escalation set at = at - interval '3 minutes'")
        cursor.execute("alter table webapp_escalation enable trigger append_only")
    escalation.refresh_from_db()
    admin = signed_in(Role.ADMIN, "b")
    admin.post(f"/alerts/{escalation.pk}/acknowledge/")
    (one,) = alerts.handled()
    assert timedelta(minutes=3).total_seconds() <= one.seconds < 240
    assert "Half of them within about 3 minutes (n 1)." in admin.get("/alerts/").content.decode()
    assert AuditEvent.objects.get(action="escalation acknowledged").facts["seconds"] >= 180


def test_a_case_that_is_with_annotators_is_taken_back(helpline, import_rows, person) -> None:
    import_rows(helpline, {"id": "1", "text": "a"})
    case = predict(trained_version(helpline), "1", helpline_prediction(sure=0.6))
    assert (case.state, Outbox.objects.get().purpose) == (CaseState.LABELLING, "push")
    escalations.escalate(case, person(Role.SUPERVISOR))
    assert not Outbox.objects.filter(sent_at=None).exists()


def test_a_part_of_a_page_answers_with_the_alerts_beside(calm, signed_in) -> None:
    desk: Client = signed_in(Role.SUPERVISOR)
    page = desk.post(f"/cases/{calm.pk}/escalate/", headers={"HX-Request": "true"}).content.decode()
    assert page.startswith('<strong class="urgent">▲ Escalated</strong>')
    assert 'hx-swap-oob="outerHTML:#alerts"' in page
    assert "waits for somebody else" in page
