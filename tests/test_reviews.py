"""A supervisor's decisions."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from tests.conftest import case_named, change_policy, helpline_prediction, predict, submission, trained_version
from webapp.actions import leases, people, reviews, schemas, submissions
from webapp.errors import StaleCase
from webapp.models import Annotation, AuditEvent, Case, CaseState, LabelStudioProject, LabelStudioTask, Outbox, Schema
from webapp.roles import Role

ANSWERS = {"main_category": "VANE", "sub_category": "Child Neglect", "priority": "1"}


@pytest.fixture
def in_review(helpline, import_rows):
    """Three cases in review; by rank they are c, a, b."""
    import_rows(helpline, *({"id": name, "text": name} for name in "abc"))
    Case.objects.update(received_at=timezone.now())
    version = trained_version(helpline)
    for name, urgent in (("a", 0.5), ("b", 0.2), ("c", 0.9)):
        predict(version, name, helpline_prediction(urgent=urgent))
    return version


def test_a_decision_makes_the_labels_closes_the_flags_and_lets_the_case_go(in_review, person) -> None:
    supervisor = person(Role.SUPERVISOR)
    case = leases.take_next(supervisor)
    reviews.decide(case, supervisor, answers=ANSWERS, revision=0, shown=case.current_prediction, note="clear")
    found = case_named("c")
    assert (found.state, found.held_by, found.held_until, found.revision) == (CaseState.DECIDED, None, None, 1)
    labels = {label.head: (label.answer, label.rule) for label in found.labels.all()}
    assert labels == {head: (answer, "review") for head, answer in ANSWERS.items()}
    assert list(found.flags.filter(resolved_at=None)) == []
    annotation = found.annotations.get()
    assert (annotation.origin, annotation.annotator.user, annotation.note) == ("review", supervisor, "clear")
    assert (annotation.prediction, annotation.changed_heads) == (found.current_prediction, ["priority"])


def test_a_decision_is_in_the_audit_log_without_a_text(in_review, person) -> None:
    supervisor = person(Role.SUPERVISOR)
    case = case_named("c")
    shown = case.current_prediction
    reviews.decide(case, supervisor, answers=ANSWERS, revision=0, shown=shown, note="a private word")
    event = AuditEvent.objects.get(action="case decided")
    assert (event.actor, event.subject, event.facts) == (supervisor, f"case {case.pk}", {"changed": ["priority"]})


def test_a_decided_case_is_taken_back_from_label_studio(in_review, person) -> None:
    case = case_named("a")
    project = LabelStudioProject.objects.create(schema=case.schema, schema_version=in_review.schema_version, project=1)
    LabelStudioTask.objects.create(case=case, project=project, task=7)
    Outbox.objects.create(case=case, purpose="refresh", due_at=timezone.now())
    reviews.decide(case, person(Role.SUPERVISOR), answers=ANSWERS, revision=0)
    assert list(Outbox.objects.values_list("case", "purpose", "sent_at")) == [(case.pk, "withdraw", None)]


def test_an_answer_to_a_case_that_changed_in_between_is_not_saved(in_review, person, helpline) -> None:
    supervisor = person(Role.SUPERVISOR)
    opened = leases.take_next(supervisor)
    submissions.record(opened, submission(helpline, "Wanjiru", {"priority": "3"}))
    with pytest.raises(StaleCase, match=r"^Somebody changed this case since you opened it"):
        reviews.decide(opened, supervisor, answers=ANSWERS, revision=opened.revision)
    assert list(Annotation.objects.filter(origin="review")) == []
    assert case_named("c").state == CaseState.REVIEW


def test_the_same_form_sent_twice_decides_once(in_review, person) -> None:
    supervisor = person(Role.SUPERVISOR)
    reviews.decide(case_named("a"), supervisor, answers=ANSWERS, revision=0)
    with pytest.raises(StaleCase):
        reviews.decide(case_named("a"), supervisor, answers=ANSWERS | {"priority": "3"}, revision=0)
    assert Annotation.objects.get().answers["priority"] == "1"


def test_a_decision_can_be_changed_and_the_newer_one_stands(in_review, person) -> None:
    supervisor = person(Role.SUPERVISOR)
    reviews.decide(case_named("a"), supervisor, answers=ANSWERS, revision=0)
    reviews.decide(case_named("a"), supervisor, answers=ANSWERS | {"priority": "2"}, revision=1)
    assert case_named("a").labels.get(head="priority").answer == "2"
    assert [one.answers["priority"] for one in Annotation.objects.order_by("pk")] == ["1", "2"]


def test_a_review_stands_above_annotators_who_disagree(in_review, person, helpline) -> None:
    for number, priority in enumerate(["2", "3"]):
        submissions.record(case_named("a"), submission(helpline, f"p{number}", {"priority": priority}, id=number))
    reviews.decide(case_named("a"), person(Role.SUPERVISOR), answers=ANSWERS, revision=2)
    assert case_named("a").labels.get(head="priority").answer == "1"
    assert case_named("a").state == CaseState.DECIDED


# --- At once ---------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_of_two_decisions_at_once_one_is_saved(import_rows, sent) -> None:
    schemas.register_shipped()
    helpline = Schema.objects.get(name="helpline")
    change_policy(helpline, audit_share=0.0)
    import_rows(helpline, {"id": "1", "text": "a"})
    Case.objects.update(state=CaseState.REVIEW)
    users = [
        people.create(f"s{n}", email=f"s{n}@example.org", password="a-long-password", role=Role.SUPERVISOR)
        for n in range(2)
    ]
    case, start = case_named("1"), Barrier(2)

    def decide(user: User) -> bool:
        try:
            start.wait(5)
            reviews.decide(case, user, answers=ANSWERS, revision=0)
        except StaleCase:
            return False
        else:
            return True
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as threads:
        saved = list(threads.map(decide, users))
    assert sorted(saved) == [False, True]
    assert Annotation.objects.get().annotator.user == users[saved.index(True)]
