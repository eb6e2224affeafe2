"""A supervisor's work: taking a case, deciding it, letting it go."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from tests.conftest import case_named, change_policy, helpline_prediction, predict, submission, trained_version
from webapp.actions import people, reviews, schemas, submissions
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


def test_the_case_that_matters_most_comes_first(in_review, person) -> None:
    taken = [reviews.take_next(person(Role.SUPERVISOR, name)).external_id for name in ("first", "second", "third")]
    assert taken == ["c", "a", "b"]
    assert reviews.take_next(person(Role.SUPERVISOR, "fourth")) is None


def test_who_holds_a_case_is_given_the_same_one_again(in_review, person) -> None:
    supervisor = person(Role.SUPERVISOR)
    assert [reviews.take_next(supervisor).external_id for _ in range(2)] == ["c", "c"]


def test_only_cases_in_review_are_given(in_review, person) -> None:
    Case.objects.exclude(external_id="b").update(state=CaseState.LABELLING)
    assert reviews.take_next(person(Role.SUPERVISOR)).external_id == "b"


def test_a_lease_lasts_a_quarter_of_an_hour(in_review, person) -> None:
    before = timezone.now()
    held = reviews.take_next(person(Role.SUPERVISOR, "first"))
    assert before + timedelta(minutes=15) <= held.held_until <= timezone.now() + timedelta(minutes=15)
    Case.objects.filter(pk=held.pk).update(held_until=timezone.now() - timedelta(seconds=1))
    assert reviews.take_next(person(Role.SUPERVISOR, "second")) == held


def test_a_case_that_is_let_go_can_be_taken_by_another(in_review, person) -> None:
    first, second = person(Role.SUPERVISOR, "first"), person(Role.SUPERVISOR, "second")
    held = reviews.take_next(first)
    reviews.release(held, second)  # It is not theirs to let go
    assert reviews.take_next(second) != held
    reviews.release(held, first)
    found = case_named(held.external_id)
    assert (found.held_by, found.held_until) == (None, None)


def test_a_case_that_somebody_else_holds_cannot_be_taken(in_review, person) -> None:
    first, second = person(Role.SUPERVISOR, "first"), person(Role.SUPERVISOR, "second")
    assert reviews.take(case_named("a"), first) is True
    assert reviews.take(case_named("a"), second) is False
    assert case_named("a").held_by == first


def test_a_decided_case_cannot_be_taken(in_review, person) -> None:
    Case.objects.update(state=CaseState.DECIDED)
    assert reviews.take(case_named("a"), person(Role.SUPERVISOR)) is False
    assert case_named("a").held_by is None


def test_a_decision_makes_the_labels_closes_the_flags_and_lets_the_case_go(in_review, person) -> None:
    supervisor = person(Role.SUPERVISOR)
    case = reviews.take_next(supervisor)
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
    opened = reviews.take_next(supervisor)
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
def test_supervisors_who_take_the_next_case_at_once_never_get_the_same(import_rows, sent) -> None:
    schemas.register_shipped()
    helpline = Schema.objects.get(name="helpline")
    change_policy(helpline, audit_share=0.0)
    import_rows(helpline, *({"id": str(n), "text": str(n)} for n in range(6)))
    Case.objects.update(state=CaseState.REVIEW)
    users = [
        people.create(f"s{n}", email=f"s{n}@example.org", password="a-long-password", role=Role.SUPERVISOR)
        for n in range(4)
    ]
    start = Barrier(len(users))

    def take(user: User) -> str | None:
        try:
            start.wait(5)
            case = reviews.take_next(user)
            return case and case.external_id
        finally:
            connection.close()

    with ThreadPoolExecutor(len(users)) as threads:
        taken = list(threads.map(take, users))
    assert None not in taken
    assert len(set(taken)) == 4
    held = Case.objects.exclude(held_by=None).values_list("held_by__username", "external_id")
    assert dict(held) == dict(zip([user.username for user in users], taken, strict=True))


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
