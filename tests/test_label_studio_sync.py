"""The traffic with a real Label Studio: what goes out, what comes back, and what happens while it is away."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Event, Thread
from typing import Any

import celery
import httpx
import pytest
from django.db import connection
from django.utils import timezone

from annotate import client, payloads
from ml import schema as shipped
from ml.types import HeadPrediction, Labels, Prediction
from tests.conftest import case_named, change_policy, helpline_prediction, predict, trained_version
from tests.engines import NOBODY_LISTENS
from webapp import tasks
from webapp.actions import label_studio as sync
from webapp.actions import promotions
from webapp.locks import only_one
from webapp.models import (
    Annotation,
    Case,
    CaseState,
    LabelStudioProject,
    LabelStudioTask,
    ModelVersion,
    Outbox,
    Schema,
)
from webapp.roles import Role

pytestmark = pytest.mark.label_studio

HELPLINE = shipped.load("helpline")
TEXT = "Wanjiru is twelve and lives in Kisumu."
MARKER = "my stepfather locks the door every night"
NEGLECT: Labels = {"main_category": "VANE", "sub_category": "Child Neglect", "priority": "2"}
ABUSE: Labels = {"main_category": "VANE", "sub_category": "Physical Abuse", "priority": "2"}


@pytest.fixture
def helpline_at(helpline: Schema, label_studio: Any, settings: Any, sent: Any) -> Schema:
    """The helpline schema with a champion, connected to the real Label Studio; its webhooks reach nobody."""
    settings.LABEL_STUDIO_URL = label_studio.url
    settings.LABEL_STUDIO_API_KEY = label_studio.api_key
    settings.LABEL_STUDIO_WEBHOOK_SECRET = label_studio.webhook_secret
    settings.SITE_URL = NOBODY_LISTENS
    use(trained_version(helpline))
    return helpline


@pytest.fixture(autouse=True)
def browser(label_studio: Any) -> Iterator[httpx.Client]:
    """What an annotator's browser asks, without the browser. The projects of a test are gone when it ends."""
    headers = {"Authorization": f"Token {label_studio.api_key}"}
    with httpx.Client(base_url=label_studio.url, headers=headers, timeout=60) as http:
        yield http
        for project in http.get("/api/projects/", params={"page_size": 100}).json()["results"]:
            if project["title"].startswith("Caseloop: "):
                http.delete(f"/api/projects/{project['id']}/").raise_for_status()


@pytest.fixture
def flagged(helpline_at: Schema, import_rows: Callable[..., Any]) -> Callable[..., Case]:
    """Import a case that the champion is unsure of, and so wants people to label."""

    def make(
        external_id: str, *, text: str = TEXT, sure: float = 0.5, prediction: Prediction | None = None, **row: object
    ) -> Case:
        import_rows(helpline_at, {"id": external_id, "text": text, **row})
        champion = ModelVersion.objects.filter(kind="trained").latest("number")
        case = predict(champion, external_id, prediction or helpline_prediction(sure=sure))
        assert case.state == CaseState.LABELLING
        return case

    return make


@pytest.fixture
def delivered(flagged: Callable[..., Case]) -> Case:
    """One case that is in Label Studio."""
    case = flagged("1")
    sync.deliver()
    return case


def use(version: ModelVersion) -> ModelVersion:
    promotions.promote(version, by=None, reason="a test needs it")
    return version


def make_due() -> None:
    Outbox.objects.filter(sent_at=None).update(due_at=timezone.now())


def waiting() -> list[tuple[str, str]]:
    return sorted(Outbox.objects.filter(sent_at=None).values_list("case__external_id", "purpose"))


def project_number() -> int:
    return LabelStudioProject.objects.get().project


def task_of(case: Case) -> int:
    return LabelStudioTask.objects.get(case=case).task


def tasks_there(browser: httpx.Client) -> list[dict[str, Any]]:
    """All tasks of the project as Label Studio holds them, in the order of their numbers."""
    found = browser.get("/api/tasks/", params={"project": project_number(), "fields": "all", "page_size": 100})
    return sorted(found.json()["tasks"], key=lambda task: task["id"])


def cases_there(browser: httpx.Client) -> list[str]:
    """The cases that have a task, each as often as it has one."""
    ids = [int(task["data"]["case_id"]) for task in tasks_there(browser)]
    return sorted(Case.objects.get(pk=pk).external_id for pk in ids)


def predictions_there(browser: httpx.Client) -> dict[str, list[tuple[str, Labels]]]:
    """What is filled in for each case: version and answers of every prediction that Label Studio holds."""
    held = browser.get("/api/predictions/", params={"project": project_number()}).json()
    cases = {row.task: row.case.external_id for row in LabelStudioTask.objects.select_related("case")}
    found: dict[str, list[tuple[str, Labels]]] = {}
    for one in held:
        answers, problems = payloads.labels_of(HELPLINE, one["result"], TEXT)
        assert problems == []
        found.setdefault(cases[one["task"]], []).append((one["model_version"], answers))
    return found


def submit(browser: httpx.Client, case: Case, answers: Labels, **more: Any) -> int:
    body = {"result": payloads.result_of(HELPLINE, answers), **more}
    answer = browser.post(f"/api/tasks/{task_of(case)}/annotations/", json=body)
    assert answer.status_code == 201
    return int(answer.json()["id"])


def next_case(browser: httpx.Client) -> str | None:
    """The case that Label Studio serves next, None when there is no more."""
    answer = browser.get(f"/api/projects/{project_number()}/next")
    if answer.status_code == 404:
        return None
    return Case.objects.get(pk=int(answer.json()["data"]["case_id"])).external_id


def somebody_else(label_studio: Any) -> int:
    """The number of a second person in Label Studio, whose answers the first may hand in."""
    with client.Client(label_studio.url, label_studio.api_key) as connected:
        return connected.ensure_user("amina@example.org", "Amina", "Otieno")


def labels_of(case: Case) -> Labels:
    return dict(case.labels.values_list("head", "answer"))


# ------------------------------------------------------------------------------------------------------- going out


def test_the_project_is_made_from_the_schema(delivered, browser, helpline_at, label_studio) -> None:
    row = LabelStudioProject.objects.get()
    found = browser.get(f"/api/projects/{row.project}/").json()
    assert found["title"] == "Caseloop: Child helpline calls"
    assert found["sampling"] == "Uncertainty sampling"
    assert 'name="priority"' in found["label_config"]
    assert (row.schema, row.schema_version) == (helpline_at, helpline_at.versions.get())
    (hook,) = browser.get("/api/webhooks/", params={"project": row.project}).json()
    assert hook["url"] == row.webhook_url == f"{NOBODY_LISTENS}/webhooks/label-studio/"
    assert hook["headers"] == {"X-Caseloop-Secret": label_studio.webhook_secret}
    assert hook["send_payload"] is False


def test_a_flagged_case_arrives_with_the_answers_of_the_champion_filled_in(delivered, browser) -> None:
    (task,) = tasks_there(browser)
    assert task["data"] == {"case_id": str(delivered.pk), "text": TEXT}
    assert predictions_there(browser) == {"1": [("version 1", NEGLECT)]}
    row = LabelStudioTask.objects.get()
    assert (row.case, row.task, row.withdrawn_at) == (delivered, task["id"], None)
    assert str(row.version) == "version 1"
    assert waiting() == []


def test_only_cases_that_are_with_annotators_arrive(flagged, helpline_at, browser, import_rows) -> None:
    flagged("labelling")
    import_rows(helpline_at, {"id": "sure", "text": "b"}, {"id": "urgent", "text": "c"}, {"id": "new", "text": "d"})
    champion = ModelVersion.objects.get(number=1, kind="trained")
    assert predict(champion, "sure", helpline_prediction(sure=0.9)).state == CaseState.ACCEPTED
    assert predict(champion, "urgent", helpline_prediction(urgent=0.5)).state == CaseState.REVIEW
    sync.deliver()
    assert cases_there(browser) == ["labelling"]


def test_what_is_too_much_for_one_turn_goes_by_harm(flagged, browser, monkeypatch) -> None:
    monkeypatch.setattr(sync, "MOST_AT_ONCE", 1)
    flagged("less", sure=0.6)
    flagged("more", sure=0.3)
    sync.deliver()
    assert (cases_there(browser), waiting()) == (["more"], [("less", "push")])
    sync.deliver()
    assert (cases_there(browser), waiting()) == (["less", "more"], [])


def test_a_case_that_was_decided_before_it_was_sent_is_not_sent(flagged, browser) -> None:
    flagged("1")
    Case.objects.update(state=CaseState.DECIDED)
    sync.deliver()
    assert (cases_there(browser), waiting()) == ([], [])


def test_people_are_served_the_case_of_most_harm_first(flagged, helpline_at, browser) -> None:
    flagged("some", sure=0.55)
    flagged("most", sure=0.25)
    flagged("least", sure=0.65)
    change_policy(helpline_at, audit_share=1.0)
    flagged("audited", sure=0.45)
    sync.deliver()
    served = []
    while (external_id := next_case(browser)) is not None:
        served.append(external_id)
        submit(browser, case_named(external_id), NEGLECT)
    assert served == ["most", "audited", "some", "least"]


def test_an_audited_case_is_asked_blind(flagged, helpline_at, browser) -> None:
    change_policy(helpline_at, audit_share=1.0)
    assert flagged("audited").is_audit
    change_policy(helpline_at, audit_share=0.0)
    flagged("other")
    sync.deliver()
    assert predictions_there(browser) == {"audited": [("version 1", {})], "other": [("version 1", NEGLECT)]}


def test_an_audited_case_stays_blind_when_another_version_answers(flagged, helpline_at, browser) -> None:
    change_policy(helpline_at, audit_share=1.0)
    flagged("audited")
    sync.deliver()
    predict(use(trained_version(helpline_at, 2)), "audited", helpline_prediction(sure=0.5))
    make_due()
    sync.deliver()
    assert predictions_there(browser) == {"audited": [("version 2", {})]}


def test_a_case_is_sent_once_however_often_the_outbox_is_emptied(delivered, browser) -> None:
    before = LabelStudioTask.objects.get().task
    sync.deliver()
    assert cases_there(browser) == ["1"]
    Outbox.objects.update(sent_at=None)  # As if the process had died before it could say so
    LabelStudioTask.objects.all().delete()
    sync.deliver()
    assert cases_there(browser) == ["1"]
    assert (LabelStudioTask.objects.get().task, waiting()) == (before, [])


def test_the_project_is_found_again_when_its_row_was_lost(delivered, browser, flagged) -> None:
    before = project_number()
    LabelStudioProject.objects.all().delete()
    flagged("2")
    sync.deliver()
    assert project_number() == before
    assert cases_there(browser) == ["1", "2"]


def test_nothing_is_sent_while_another_process_speaks_to_the_project(flagged, helpline_at, browser) -> None:
    flagged("1")
    with another_process_holding(helpline_at):
        sync.deliver()
        assert list(LabelStudioProject.objects.all()) == []
        assert waiting() == [("1", "push")]
    sync.deliver()
    assert (cases_there(browser), waiting()) == (["1"], [])


def test_a_case_that_left_labelling_is_taken_back(delivered, helpline_at, browser, flagged) -> None:
    flagged("2")
    sync.deliver()
    predict(trained_version(helpline_at, 2), "1", helpline_prediction(sure=0.9))
    assert waiting() == [("1", "withdraw")]
    sync.deliver()
    assert (cases_there(browser), waiting()) == (["2"], [])
    assert LabelStudioTask.objects.get(case=delivered).withdrawn_at <= timezone.now()
    assert LabelStudioTask.objects.get(case__external_id="2").withdrawn_at is None


def test_a_case_that_somebody_has_begun_is_kept(delivered, helpline_at, browser) -> None:
    draft = {"result": payloads.result_of(HELPLINE, {"priority": "1"}), "lead_time": 1}
    browser.post(f"/api/tasks/{task_of(delivered)}/drafts", json=draft).raise_for_status()
    predict(trained_version(helpline_at, 2), "1", helpline_prediction(sure=0.9))
    sync.deliver()
    assert (cases_there(browser), waiting()) == (["1"], [])
    assert LabelStudioTask.objects.get().withdrawn_at is None


def test_a_case_that_was_taken_back_and_is_wanted_again_gets_one_new_task(delivered, helpline_at, browser) -> None:
    predict(trained_version(helpline_at, 2), "1", helpline_prediction(sure=0.9))
    sync.deliver()
    assert cases_there(browser) == []
    predict(use(trained_version(helpline_at, 3)), "1", helpline_prediction(sure=0.4))
    sync.deliver()
    assert cases_there(browser) == ["1"]
    row = LabelStudioTask.objects.get()
    assert (row.task, row.withdrawn_at, str(row.version)) == (tasks_there(browser)[0]["id"], None, "version 3")


def test_a_case_that_is_decided_while_it_is_sent_is_taken_back(flagged, browser, monkeypatch) -> None:
    case = flagged("1")
    push = client.Client.push

    def decided_meanwhile(*args: Any) -> Any:
        Case.objects.filter(pk=case.pk).update(state=CaseState.DECIDED)
        return push(*args)

    monkeypatch.setattr(client.Client, "push", decided_meanwhile)
    sync.deliver()
    assert (cases_there(browser), waiting()) == (["1"], [("1", "withdraw")])
    sync.deliver()
    assert (cases_there(browser), waiting()) == ([], [])


def test_the_answers_of_a_new_champion_take_the_place_of_the_old_ones(delivered, flagged, helpline_at, browser) -> None:
    flagged("2")
    sync.deliver()
    champion = use(trained_version(helpline_at, 2))
    for external_id in ("1", "2"):
        predict(champion, external_id, helpline_prediction("VANE", "Physical Abuse", sure=0.5))
    assert waiting() == [("1", "refresh"), ("2", "refresh")]
    make_due()
    sync.deliver()
    assert predictions_there(browser) == {"1": [("version 2", ABUSE)], "2": [("version 2", ABUSE)]}
    assert browser.get(f"/api/projects/{project_number()}/").json()["model_version"] == "version 2"
    assert LabelStudioProject.objects.get().version == champion
    assert {row.version for row in LabelStudioTask.objects.all()} == {champion}
    Outbox.objects.update(sent_at=None)
    sync.deliver()
    assert predictions_there(browser) == {"1": [("version 2", ABUSE)], "2": [("version 2", ABUSE)]}


def test_the_order_follows_the_new_champion(flagged, helpline_at, browser) -> None:
    for external_id, sure in (("a", 0.3), ("b", 0.4), ("c", 0.5)):
        flagged(external_id, sure=sure)
    sync.deliver()
    champion = use(trained_version(helpline_at, 2))
    for external_id, sure in (("a", 0.6), ("b", 0.5), ("c", 0.4)):
        predict(champion, external_id, helpline_prediction(sure=sure))
    make_due()
    sync.deliver()
    assert next_case(browser) == "c"


def test_a_case_that_the_champion_answers_after_its_promotion_reached_label_studio_is_refreshed(
    delivered, flagged, helpline_at, browser
) -> None:
    champion = use(trained_version(helpline_at, 2))
    flagged("2", prediction=helpline_prediction("VANE", "Physical Abuse", sure=0.5))
    sync.deliver()  # The first case still has the answers of the version before
    assert predictions_there(browser) == {"1": [("version 2", NEGLECT)], "2": [("version 2", ABUSE)]}
    predict(champion, "1", helpline_prediction("VANE", "Physical Abuse", sure=0.5))
    assert waiting() == [("1", "refresh")]
    make_due()
    sync.deliver()
    assert predictions_there(browser) == {"1": [("version 2", ABUSE)], "2": [("version 2", ABUSE)]}


# ----------------------------------------------------------------------------------------------------- coming back


def test_polling_alone_brings_an_annotation_back_once(delivered, browser) -> None:
    number = submit(browser, delivered, ABUSE, lead_time=12.5)
    for _ in range(3):
        sync.poll_all()
    annotation = Annotation.objects.get()
    assert (annotation.case, annotation.answers, annotation.problems) == (delivered, ABUSE, [])
    assert (annotation.external_project, annotation.external_id) == (project_number(), number)
    assert (annotation.seconds, annotation.origin, annotation.is_skip) == (12.5, "label_studio", False)
    assert annotation.changed_heads == ["sub_category"]
    assert str(annotation.schema_version) == "helpline 1"
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


def test_an_annotation_is_by_the_person_of_ours_with_that_email(delivered, browser, label_studio, person) -> None:
    user = person(Role.ANNOTATOR, "amina")
    number = somebody_else(label_studio)
    submit(browser, delivered, NEGLECT, completed_by=number)
    sync.poll_all()
    annotator = Annotation.objects.get().annotator
    assert (annotator.user, annotator.label_studio_user) == (user, number)


@pytest.mark.django_db(transaction=True)
def test_a_webhook_alone_brings_an_annotation_back(
    helpline_at, settings, live_server, flagged, browser, monkeypatch
) -> None:
    asked = poll_at_once(monkeypatch)
    settings.SITE_URL = f"http://127.0.0.1:{live_server.thread.port}"
    case = flagged("1")
    sync.deliver()
    number = submit(browser, case, NEGLECT)
    wait_until(lambda: labels_of(case) == NEGLECT)
    annotation = Annotation.objects.get()
    assert (annotation.external_id, annotation.answers) == (number, NEGLECT)
    assert case_named("1").state == CaseState.DECIDED
    assert asked == ["poll_label_studio"]
    browser.delete(f"/api/annotations/{number}/").raise_for_status()
    wait_until(lambda: labels_of(case) == {})
    assert Annotation.objects.count() == 2
    assert case_named("1").state == CaseState.LABELLING


@pytest.mark.django_db(transaction=True)
def test_a_webhook_with_another_secret_brings_nothing_back(
    helpline_at, settings, live_server, flagged, browser, monkeypatch
) -> None:
    asked = poll_at_once(monkeypatch)
    settings.SITE_URL = f"http://127.0.0.1:{live_server.thread.port}"
    case = flagged("1")
    sync.deliver()
    settings.LABEL_STUDIO_WEBHOOK_SECRET = "changed since the webhook was made"
    submit(browser, case, NEGLECT)
    assert (asked, Annotation.objects.count()) == ([], 0)
    sync.poll_all()
    assert labels_of(case) == NEGLECT


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
    edit = {"result": payloads.result_of(HELPLINE, {**ABUSE, "priority": "1"})}
    browser.patch(f"/api/annotations/{number}/", json=edit).raise_for_status()
    for _ in range(2):
        sync.poll_all()
    first, second = Annotation.objects.order_by("id")
    assert (first.answers, second.answers) == (NEGLECT, {**ABUSE, "priority": "1"})
    assert (second.supersedes, second.external_id) == (first, number)
    assert second.external_updated_at > first.external_updated_at
    assert labels_of(delivered) == {**ABUSE, "priority": "1"}
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


def test_two_annotators_who_disagree_send_the_case_to_review(delivered, browser, label_studio) -> None:
    submit(browser, delivered, NEGLECT)
    submit(browser, delivered, ABUSE, completed_by=somebody_else(label_studio))
    sync.poll_all()
    case = case_named("1")
    assert case.state == CaseState.REVIEW
    assert list(case.flags.filter(resolved_at=None, kind="disagreement").values_list("head", flat=True)) == [
        "sub_category"
    ]
    assert labels_of(case) == {"main_category": "VANE", "priority": "2"}
    sync.deliver()
    assert (cases_there(browser), waiting()) == (["1"], [])  # What people did there stays


def test_two_annotators_who_agree_decide_the_case(delivered, browser, label_studio) -> None:
    submit(browser, delivered, NEGLECT)
    submit(browser, delivered, NEGLECT, completed_by=somebody_else(label_studio))
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
    assert case_named("1").state == CaseState.LABELLING


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


# ------------------------------------------------------------------------------------------------------- when away


def test_while_label_studio_is_down_the_outbox_waits_and_the_rest_goes_on(
    flagged, settings, label_studio, browser
) -> None:
    settings.LABEL_STUDIO_URL = NOBODY_LISTENS
    flagged("1")
    before = timezone.now()
    sync.deliver()
    row = Outbox.objects.get()
    assert (row.sent_at, row.attempts) == (None, 1)
    assert row.failure == "Label Studio cannot be reached (ConnectError)"
    assert before + timedelta(seconds=10) <= row.due_at <= timezone.now() + timedelta(seconds=10)
    sync.deliver()  # Not due yet
    assert Outbox.objects.get().attempts == 1
    flagged("2")
    assert waiting() == [("1", "push"), ("2", "push")]
    settings.LABEL_STUDIO_URL = label_studio.url
    make_due()
    sync.deliver()
    assert (cases_there(browser), waiting()) == (["1", "2"], [])
    assert set(Outbox.objects.values_list("failure", flat=True)) == {""}


def test_a_poll_that_fails_says_since_when_and_why_until_one_succeeds(
    delivered, settings, label_studio, browser
) -> None:
    submit(browser, delivered, NEGLECT)
    settings.LABEL_STUDIO_URL = NOBODY_LISTENS
    sync.poll_all()
    first = LabelStudioProject.objects.get()
    assert first.failure == "Label Studio cannot be reached (ConnectError)"
    assert first.failing_since <= timezone.now()
    sync.poll_all()
    assert LabelStudioProject.objects.get().failing_since == first.failing_since
    settings.LABEL_STUDIO_URL = label_studio.url
    sync.poll_all()
    row = LabelStudioProject.objects.get()
    assert (row.failure, row.failing_since) == ("", None)
    assert row.polled_at > first.failing_since
    assert labels_of(delivered) == NEGLECT


def test_a_wrong_key_is_told_and_not_repeated(flagged, settings) -> None:
    settings.LABEL_STUDIO_API_KEY = "f0" * 20
    flagged("1")
    sync.deliver()
    row = Outbox.objects.get()
    assert row.failure.startswith("Label Studio refused with status 401")
    assert "f0f0" not in row.failure


def test_without_an_address_nothing_is_tried(flagged, settings) -> None:
    settings.LABEL_STUDIO_URL = ""
    flagged("1")
    sync.deliver()
    sync.poll_all()
    assert (Outbox.objects.get().attempts, waiting()) == (0, [("1", "push")])


def test_answers_that_the_schema_does_not_have_are_told_and_hold_up_no_other_schema(
    flagged, helpline_at, import_rows, browser
) -> None:
    flagged("1", prediction={**helpline_prediction(sure=0.5), "priority": HeadPrediction("9", 0.5, {"9": 0.5})})
    customer = Schema.objects.get(name="customer")
    change_policy(customer, audit_share=0.0)
    import_rows(customer, {"id": "message", "text": "How much is it?"})
    tags = HeadPrediction(["Deal-seeker"], 0.4, {"Deal-seeker": 0.4})
    predict(use(trained_version(customer)), "message", {"tags": tags})
    sync.deliver()
    row = Outbox.objects.get(case__external_id="1")
    assert (row.attempts, row.failure) == (1, "priority has no label '9'; expected one of the schema")
    assert waiting() == [("1", "push")]


def test_the_text_of_a_case_is_in_no_failure_and_in_no_log(flagged, settings, label_studio, browser, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    case = flagged("1", text=MARKER)
    settings.LABEL_STUDIO_URL = NOBODY_LISTENS
    sync.deliver()
    settings.LABEL_STUDIO_URL = label_studio.url
    make_due()
    sync.deliver()
    submit(browser, case, NEGLECT)
    sync.poll_all()
    change_configuration(browser)
    refused = flagged("2", text=f"{MARKER} again")
    sync.deliver()
    row = Outbox.objects.get(case=refused)
    assert row.failure.startswith("Label Studio refused with status 400")
    assert labels_of(case) == NEGLECT
    said = [f"{record.getMessage()} {record.__dict__}" for record in caplog.records]
    assert any("outbox waits" in line for line in said)
    assert [line for line in [*said, caplog.text, row.failure] if "stepfather" in line] == []


# ------------------------------------------------------------------------------------------------------ how it is done


@contextmanager
def another_process_holding(schema: Schema) -> Iterator[None]:
    """Hold the lock of a schema's project, from a thread with a connection of its own."""
    is_held, is_over = Event(), Event()

    def hold() -> None:
        with only_one(f"label studio {schema.pk}") as is_mine:
            if is_mine:
                is_held.set()
            is_over.wait(30)
        connection.close()

    thread = Thread(target=hold)
    thread.start()
    try:
        assert is_held.wait(10)
        yield
    finally:
        is_over.set()
        thread.join()


def change_configuration(browser: httpx.Client) -> None:
    """Rename a label in the project, as any annotator may: Label Studio refuses what is filled in from then on."""
    address = f"/api/projects/{project_number()}/"
    changed = browser.get(address).json()["label_config"].replace('alias="2"', 'alias="two"')
    browser.patch(address, json={"label_config": changed}).raise_for_status()


def poll_at_once(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let a poll that is asked for happen at once, where it is asked for; all else that is sent goes nowhere."""
    asked: list[str] = []

    def run(task: celery.Task, args: Any = None, kwargs: Any = None, **options: Any) -> None:
        if task.name == tasks.poll_label_studio.name:
            asked.append(task.name.removeprefix("webapp.tasks."))
            tasks.poll_label_studio()

    monkeypatch.setattr(celery.Task, "apply_async", run)
    return asked


def wait_until(is_so: Callable[[], bool], *, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)
