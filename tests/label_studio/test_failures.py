"""The failures of a real Label Studio that no other test meets; docs/label-studio.md lists them all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import httpx
import pytest

from annotate import config, payloads
from annotate.client import Client
from annotate.errors import LabelStudioDown, LabelStudioRefused
from ml.types import HeadPrediction
from tests.conftest import case_named, helpline_prediction
from tests.label_studio.conftest import (
    ABUSE,
    HELPLINE,
    NEGLECT,
    TEXT,
    cases_there,
    labels_of,
    predictions_there,
    project_number,
    somebody_else,
    submit,
    task_of,
    tasks_there,
    waiting,
)
from tests.label_studio.test_away import change_configuration
from tests.label_studio.test_doctor import doctor, empty
from webapp.actions import label_studio as sync
from webapp.models import Annotation, Annotator, CaseState, LabelStudioProject

pytestmark = pytest.mark.label_studio

NOT_THERE = 999_999


class Counting(httpx.BaseTransport):
    """The real network, with its requests counted."""

    def __init__(self) -> None:
        self.real, self.requests = httpx.HTTPTransport(), 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests += 1
        return self.real.handle_request(request)

    def close(self) -> None:
        self.real.close()


@pytest.fixture
def client(label_studio: Any) -> Iterator[Client]:
    with Client(label_studio.url, label_studio.api_key) as client:
        yield client


def task(case_id: str, priority: str = "2") -> dict[str, Any]:
    found = payloads.task(HELPLINE, case_id, TEXT, {"priority": HeadPrediction("2", 0.5)}, "v1", rank=0.0)
    found["predictions"][0]["result"][0]["value"]["choices"] = [priority]
    return found


def project_of(client: Client) -> int:
    return client.ensure_project(f"Caseloop: {uuid4().hex}", config.build(HELPLINE), "").id


def test_an_answer_that_comes_too_late_is_down(label_studio) -> None:
    hasty = Client(label_studio.url, label_studio.api_key, timeout_seconds=0.0005)
    with hasty, pytest.raises(LabelStudioDown, match="Timeout"):
        hasty.get_project(1)


@pytest.mark.parametrize("key", ["a.b.c", "not a key"])
def test_a_key_of_no_known_form_is_refused(label_studio, key) -> None:
    with Client(label_studio.url, key) as client, pytest.raises(LabelStudioRefused, match="401") as refusal:
        client.get_project(1)
    assert key not in str(refusal.value)


def test_a_project_that_goes_between_lookup_and_import_is_refused_in_few_words(client, monkeypatch) -> None:
    monkeypatch.setattr(client, "known_tasks", lambda project, case_ids: {})
    with pytest.raises(LabelStudioRefused, match="404: no detail") as refusal:
        client.push(NOT_THERE, [task("a")])
    assert len(str(refusal.value)) < 100


@pytest.mark.parametrize("path", ["projects", "tasks", "annotations", "webhooks"])
def test_what_is_missing_is_refused(client, path) -> None:
    with pytest.raises(LabelStudioRefused, match="404"):
        client.ask("GET", f"api/{path}/{NOT_THERE}/")


def test_one_bad_task_of_two_keeps_both_out(client) -> None:
    project = project_of(client)
    with pytest.raises(LabelStudioRefused, match="400"):
        client.push(project, [task("a"), task("b", "4")])
    assert client.known_tasks(project, ["a", "b"]) == {}
    assert client.push(project, []) == {}


def test_one_case_that_is_refused_does_not_hold_up_the_others(flagged, browser) -> None:
    flagged("1")
    sync.deliver()
    change_configuration(browser)
    flagged("2")
    flagged("3", prediction={**helpline_prediction(sure=0.5), "priority": HeadPrediction("3", 0.5, {"3": 0.5})})
    sync.deliver()
    assert (cases_there(browser), waiting()) == (["1", "3"], [("2", "push")])


def test_a_new_version_that_is_refused_leaves_the_old_predictions(delivered, client, browser) -> None:
    before = predictions_there(browser)
    wrong = payloads.predictions_entry(HELPLINE, {"priority": HeadPrediction("2", 0.5)}, "v2", rank=0.0)
    wrong["result"][0]["value"]["choices"] = ["4"]
    for number in (task_of(delivered), NOT_THERE):  # An answer that the project lacks; a task that it lacks
        with pytest.raises(LabelStudioRefused, match="400"):
            client.replace_predictions(project_number(), {number: wrong}, "v2")
        wrong["result"][0]["value"]["choices"] = ["2"]
    assert predictions_there(browser) == before
    assert client.get_project(project_number()).model_version == "version 1"


def test_a_region_that_names_no_control_is_a_problem_and_no_label(delivered, browser) -> None:
    result = [*payloads.result_of(HELPLINE, NEGLECT), {"type": "choices", "value": {"choices": ["1"]}}]
    answer = browser.post(f"/api/tasks/{task_of(delivered)}/annotations/", json={"result": result})
    assert answer.status_code == 201
    sync.poll_all()
    assert Annotation.objects.get().problems == ["region 3 belongs to no control of the schema helpline"]
    assert (labels_of(delivered), case_named("1").state) == (NEGLECT, CaseState.REVIEW)


def test_one_person_who_answers_twice_is_no_disagreement_and_the_later_answer_counts(delivered, browser) -> None:
    submit(browser, delivered, NEGLECT)
    submit(browser, delivered, ABUSE)
    sync.poll_all()
    assert (Annotation.objects.count(), labels_of(delivered)) == (2, ABUSE)
    assert case_named("1").state == CaseState.DECIDED


def test_an_answer_of_somebody_who_is_gone_is_put_back_under_the_owner_of_the_key(delivered, browser) -> None:
    """Label Studio refuses an annotation by a user that it does not have."""
    submit(browser, delivered, NEGLECT, completed_by=somebody_else(browser))
    refused = browser.post(f"/api/tasks/{task_of(delivered)}/annotations/", json={"completed_by": NOT_THERE})
    assert refused.status_code == 400
    sync.poll_all()
    before = Annotator.objects.get(name="amina@example.org")
    Annotator.objects.update(name="gone@example.org", label_studio_user=NOT_THERE)
    empty(browser)
    assert doctor("--repair")["repaired"]["annotations put back"] == 1
    (found,) = tasks_there(browser)
    assert [said["completed_by"] for said in found["annotations"]] == [1]
    LabelStudioProject.objects.update(cursor="")
    sync.poll_all()
    assert Annotation.objects.get().annotator == before  # With us it stays theirs


def test_a_write_that_fails_inside_is_not_repeated(label_studio, delivered) -> None:
    """The SDK would send it three times; the second and third could be stored."""
    network = Counting()
    with Client(label_studio.url, label_studio.api_key, transport=network) as client:
        client.get_project(project_number())
        asked = network.requests
        with pytest.raises(LabelStudioDown, match="500"):
            client.ask("POST", f"api/tasks/{task_of(delivered)}/annotations/", json={"result": "not JSON"})
    assert network.requests == asked + 1


def test_a_control_that_people_used_cannot_be_taken_away_and_the_project_stays(delivered, client, browser) -> None:
    submit(browser, delivered, NEGLECT)
    less = replace(HELPLINE, heads=tuple(head for head in HELPLINE.heads if head.key != "priority"))
    with pytest.raises(LabelStudioRefused, match="400"):
        client.ensure_project("Caseloop: less", config.build(less), "", project=project_number())
    held = browser.get(f"/api/projects/{project_number()}/").json()["label_config"]
    assert held == config.build(HELPLINE)


def test_a_label_that_people_used_can_be_taken_away_there_and_their_answer_stays_ours(delivered, browser) -> None:
    """Label Studio lets it happen; answers are still read under our schema, and the doctor shows the change."""
    submit(browser, delivered, NEGLECT)
    address = f"/api/projects/{project_number()}/"
    lines = browser.get(address).json()["label_config"].splitlines()
    changed = "\n".join(line for line in lines if 'alias="Child Neglect"' not in line)
    browser.patch(address, json={"label_config": changed}).raise_for_status()
    sync.poll_all()
    assert labels_of(delivered) == NEGLECT
    (line,) = [line for line in doctor()["projects"][0]["difference"] if 'alias="Child Neglect"' in line]
    assert line.startswith("-")
