"""What comes back from a real Label Studio, and what follows for the case."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import celery
import pytest
from django.utils import timezone

from annotate import client, payloads
from tests.conftest import case_named, change_policy, helpline_prediction, predict, trained_version
from tests.label_studio.conftest import (
    ABUSE,
    HELPLINE,
    NEGLECT,
    another_process_holding,
    cases_there,
    labels_of,
    next_case,
    project_number,
    somebody_else,
    submit,
    task_of,
    tasks_there,
    waiting,
)
from webapp import tasks
from webapp.actions import label_studio as sync
from webapp.models import Annotation, CaseState, LabelStudioProject, Schema
from webapp.roles import Role

pytestmark = pytest.mark.label_studio


def test_polling_alone_brings_an_annotation_back_once(delivered, browser) -> None:
    number = submit(browser, delivered, ABUSE, lead_time=12.5)
    for _ in range(3):
        sync.poll_all()
    annotation = Annotation.objects.get()
    assert (annotation.case, annotation.answers, annotation.problems) == (delivered, ABUSE, [])
    assert (annotation.external_project, annotation.external_id) == (project_number(), number)
    assert (annotation.seconds, annotation.origin, annotation.is_skip) == (12.5, "label_studio", False)
    assert (annotation.prediction, annotation.changed_heads) == (delivered.current_prediction, ["sub_category"])
    assert str(annotation.schema_version) == "helpline 2"
    assert labels_of(delivered) == ABUSE
    assert case_named("1").state == CaseState.DECIDED
    assert list(case_named("1").flags.filter(resolved_at=None)) == []


def test_a_poll_that_reads_everything_again_stores_nothing_twice(delivered, browser) -> None:
    submit(browser, delivered, NEGLECT)
    sync.poll_all()
    LabelStudioProject.objects.update(cursor="")
    sync.poll_all()
    assert Annotation.objects.count() == 1
    assert LabelStudioProject.objects.get().cursor > client.BEGINNING


def test_an_annotation_of_an_audited_case_is_kept_as_blind(flagged, helpline_at, browser) -> None:
    change_policy(helpline_at, audit_share=1.0)
    case = flagged("1")
    sync.deliver()
    submit(browser, case, ABUSE)
    sync.poll_all()
    annotation = Annotation.objects.get()
    assert (annotation.prediction, annotation.changed_heads, labels_of(case)) == (None, [], ABUSE)


def test_an_annotation_names_the_prediction_that_its_task_showed(delivered, helpline_at, browser) -> None:
    later = predict(trained_version(helpline_at, 2), "1", helpline_prediction("VANE", "Physical Abuse", sure=0.5))
    assert waiting() == [("1", "refresh")]  # What people see is still what the version before said
    submit(browser, delivered, ABUSE)
    sync.poll_all()
    annotation = Annotation.objects.get()
    assert later.current_prediction != delivered.current_prediction
    assert (annotation.prediction, annotation.changed_heads) == (delivered.current_prediction, ["sub_category"])


def test_an_annotation_that_leaves_a_head_out_sends_the_case_to_review(delivered, browser) -> None:
    submit(browser, delivered, {"main_category": "VANE", "sub_category": "Child Neglect"})
    sync.poll_all()
    assert Annotation.objects.get().problems == ["priority has no answer"]
    assert case_named("1").state == CaseState.REVIEW


def test_an_annotation_is_by_the_person_of_ours_with_that_email(delivered, browser, person) -> None:
    user = person(Role.ANNOTATOR, "amina")
    number = somebody_else(browser)
    submit(browser, delivered, NEGLECT, completed_by=number)
    sync.poll_all()
    annotator = Annotation.objects.get().annotator
    assert (annotator.user, annotator.label_studio_user) == (user, number)


@pytest.fixture
def asked(helpline_at: Schema, settings: Any, live_server: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The polls that webhooks ask for, in the order in which they came; each is made at once."""
    settings.SITE_URL = f"http://127.0.0.1:{live_server.thread.port}"
    polls: list[str] = []

    def run(task: celery.Task, args: Any = None, kwargs: Any = None, **options: Any) -> None:
        if task.name == tasks.poll_label_studio.name:  # All else that is sent goes nowhere
            polls.append(task.name.removeprefix("webapp.tasks."))
            tasks.poll_label_studio()

    monkeypatch.setattr(celery.Task, "apply_async", run)
    return polls


@pytest.mark.django_db(transaction=True)
def test_a_webhook_alone_brings_an_annotation_back(asked, delivered, browser) -> None:
    number = submit(browser, delivered, NEGLECT)
    wait_until(lambda: labels_of(delivered) == NEGLECT)
    annotation = Annotation.objects.get()
    assert (annotation.external_id, annotation.answers) == (number, NEGLECT)
    assert case_named("1").state == CaseState.DECIDED
    assert asked == ["poll_label_studio"]
    browser.delete(f"/api/annotations/{number}/").raise_for_status()
    wait_until(lambda: labels_of(delivered) == {})
    assert Annotation.objects.count() == 2
    assert case_named("1").state == CaseState.LABELLING


@pytest.mark.django_db(transaction=True)
def test_a_webhook_with_another_secret_brings_nothing_back(asked, delivered, browser, settings) -> None:
    settings.LABEL_STUDIO_WEBHOOK_SECRET = "changed since the webhook was made"
    submit(browser, delivered, NEGLECT)
    assert (asked, Annotation.objects.count()) == ([], 0)
    sync.poll_all()
    assert labels_of(delivered) == NEGLECT


def test_a_skip_never_becomes_a_label(delivered, browser) -> None:
    submit(browser, delivered, NEGLECT, was_cancelled=True)  # The browser sends what was filled in, too
    sync.poll_all()
    annotation = Annotation.objects.get()
    assert (annotation.is_skip, annotation.answers) == (True, {})
    assert labels_of(delivered) == {}
    assert case_named("1").state == CaseState.LABELLING


def test_an_edit_supersedes_what_was_said_before(delivered, browser) -> None:
    number = submit(browser, delivered, NEGLECT)
    sync.poll_all()
    edit = {"result": payloads.result_of(HELPLINE, {**ABUSE, "priority": "3"})}
    browser.patch(f"/api/annotations/{number}/", json=edit).raise_for_status()
    for _ in range(2):
        sync.poll_all()
    first, second = Annotation.objects.order_by("id")
    assert (first.answers, second.answers) == (NEGLECT, {**ABUSE, "priority": "3"})
    assert (second.supersedes, second.external_id) == (first, number)
    assert second.external_updated_at > first.external_updated_at
    assert labels_of(delivered) == {**ABUSE, "priority": "3"}
    assert case_named("1").state == CaseState.DECIDED


def test_a_deletion_undoes_the_labels_and_the_case_goes_back_to_annotators(delivered, browser) -> None:
    number = submit(browser, delivered, NEGLECT)
    sync.poll_all()
    browser.delete(f"/api/annotations/{number}/").raise_for_status()
    for _ in range(2):
        sync.poll_all()
    first, second = Annotation.objects.order_by("id")
    assert (second.is_deletion, second.answers, second.supersedes) == (True, {}, first)
    assert labels_of(delivered) == {}
    assert case_named("1").state == CaseState.LABELLING
    assert next_case(browser) == "1"


def test_an_annotation_that_was_deleted_before_anybody_read_it_leaves_nothing(delivered, browser) -> None:
    number = submit(browser, delivered, NEGLECT)
    browser.delete(f"/api/annotations/{number}/").raise_for_status()
    sync.poll_all()
    assert list(Annotation.objects.all()) == []
    assert case_named("1").state == CaseState.LABELLING


def test_two_annotators_who_disagree_send_the_case_to_review(delivered, browser) -> None:
    submit(browser, delivered, NEGLECT)
    submit(browser, delivered, ABUSE, completed_by=somebody_else(browser))
    sync.poll_all()
    case = case_named("1")
    assert case.state == CaseState.REVIEW
    assert list(case.flags.filter(resolved_at=None, kind="disagreement").values_list("head", flat=True)) == [
        "sub_category"
    ]
    assert labels_of(case) == {"main_category": "VANE", "priority": "2"}
    sync.deliver()
    assert (cases_there(browser), waiting()) == (["1"], [])  # What people did there stays


def test_a_second_annotator_who_answers_otherwise_sends_a_decided_case_to_review(delivered, browser, signed_in) -> None:
    submit(browser, delivered, NEGLECT)
    sync.poll_all()
    assert case_named("1").state == CaseState.DECIDED
    sync.deliver()  # Whoever has the task open can still submit it
    submit(browser, delivered, ABUSE, completed_by=somebody_else(browser))
    sync.poll_all()
    case = case_named("1")
    assert (case.state, case.annotations.count()) == (CaseState.REVIEW, 2)
    assert list(case.flags.filter(resolved_at=None).values_list("kind", "head")) == [("disagreement", "sub_category")]
    assert labels_of(case) == {"main_category": "VANE", "priority": "2"}
    queue = signed_in(Role.SUPERVISOR).get("/queue/").content.decode()
    assert "annotators disagree on sub-category" in queue


def test_two_annotators_who_agree_decide_the_case(delivered, browser) -> None:
    submit(browser, delivered, NEGLECT)
    submit(browser, delivered, NEGLECT, completed_by=somebody_else(browser))
    sync.poll_all()
    assert case_named("1").state == CaseState.DECIDED
    assert labels_of(delivered) == NEGLECT
    assert set(delivered.labels.values_list("rule", flat=True)) == {"agreement"}


def test_an_answer_outside_the_schema_is_kept_as_a_problem_and_not_as_a_label(delivered, browser) -> None:
    result = payloads.result_of(HELPLINE, NEGLECT)
    for region in result:
        if region["from_name"] == "priority":
            region["value"] = {"choices": ["4"]}
    answer = browser.post(f"/api/tasks/{task_of(delivered)}/annotations/", json={"result": result})
    assert answer.status_code == 201
    sync.poll_all()
    annotation = Annotation.objects.get()
    known = {"main_category": "VANE", "sub_category": "Child Neglect"}
    assert (annotation.answers, labels_of(delivered)) == (known, known)
    assert annotation.problems == ["priority has a label that is not in the schema"]
    assert case_named("1").state == CaseState.REVIEW


def test_a_task_that_somebody_put_there_themselves_is_left_alone(delivered, browser) -> None:
    body = [{"data": {"case_id": "mine", "text": "not ours"}}]
    browser.post(f"/api/projects/{project_number()}/import", json=body).raise_for_status()
    theirs = next(task for task in tasks_there(browser) if task["data"]["case_id"] == "mine")
    browser.post(f"/api/tasks/{theirs['id']}/annotations/", json={"result": []}).raise_for_status()
    submit(browser, delivered, NEGLECT)
    sync.poll_all()
    assert [annotation.case for annotation in Annotation.objects.all()] == [delivered]


def test_a_poll_that_another_process_makes_is_not_counted_as_ours(delivered, helpline_at) -> None:
    LabelStudioProject.objects.update(failure="it was down", failing_since=timezone.now())
    with another_process_holding(helpline_at):
        sync.poll_all()
    row = LabelStudioProject.objects.get()
    assert (row.polled_at, row.failure) == (None, "it was down")


def wait_until(is_so: Callable[[], bool], *, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)
