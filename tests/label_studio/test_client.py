"""What a real Label Studio does with all that the client asks of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from uuid import uuid4

import httpx
import pytest

from annotate import config, payloads, webhooks
from annotate.client import BEGINNING, OVERLAP, ChangedTask, Client, Project
from annotate.errors import LabelStudioRefused
from annotate.payloads import AnnotationReceived
from ml import schema as schemas
from ml.schema import Head, Kind, Label, Schema
from ml.types import HeadPrediction, Labels
from tests.label_studio.conftest import HELPLINE

KEY = "0" * 40
TEXT = "😀 Wanjiru is twelve.\r\nShe lives in Kisumu."

pytestmark = pytest.mark.label_studio


@pytest.fixture
def client(label_studio: Any) -> Iterator[Client]:
    with Client(label_studio.url, label_studio.api_key) as client:
        yield client


def _project(client: Client, schema: Schema = HELPLINE) -> Project:
    title = f"{schema.name} {uuid4().hex}"
    return client.ensure_project(title, config.build(schema), config.guidelines(schema))


def _task(case_id: str, *, rank: float = 0.0, version: str = "v1", blind: bool = False) -> dict[str, Any]:
    prediction = None if blind else {"priority": HeadPrediction("2", 0.5)}
    return payloads.task(HELPLINE, case_id, TEXT, prediction, version, rank=rank)


def _submit(browser: httpx.Client, task: int, labels: Labels, schema: Schema = HELPLINE, **more: Any) -> int:
    body = {"result": payloads.result_of(schema, labels), **more}
    answer = browser.post(f"/api/tasks/{task}/annotations/", json=body)
    assert answer.status_code == 201
    return int(answer.json()["id"])


def _changed(client: Client, project: Project, cursor: str = BEGINNING) -> dict[str, ChangedTask]:
    return {task.case_id: task for page in client.changed_since(project.id, cursor) for task in page.tasks}


def _received(client: Client, project: Project, case_id: str, schema: Schema = HELPLINE) -> list[AnnotationReceived]:
    task = _changed(client, project)[case_id]
    return [payloads.annotation_of(schema, task.json, annotation) for annotation in task.annotations]


def test_a_wrong_key_is_refused(label_studio: Any) -> None:
    with Client(label_studio.url, KEY) as client, pytest.raises(LabelStudioRefused, match="401"):
        client.users()


@pytest.mark.parametrize("name", schemas.shipped())
def test_a_project_is_made_once_and_holds_the_configuration(client: Client, browser: httpx.Client, name: str) -> None:
    schema = schemas.load(name)
    first = _project(client, schema)
    again = client.ensure_project(first.title, config.build(schema), config.guidelines(schema))
    assert again == first
    assert browser.get(f"/api/projects/{first.id}/").json()["label_config"] == config.build(schema)


def test_what_somebody_changed_in_a_project_is_put_back(client: Client, browser: httpx.Client) -> None:
    project = _project(client)
    address, wanted = f"/api/projects/{project.id}/", config.build(HELPLINE)
    changed = {"label_config": wanted.replace('value="Nutrition"', 'value="Food"'), "title": "Mine now"}
    browser.patch(address, json=changed).raise_for_status()
    assert client.ensure_project(project.title, wanted, "", project=project.id) == project
    assert browser.get(address).json()["label_config"] == wanted


def test_pushing_twice_makes_no_duplicate(client: Client, browser: httpx.Client) -> None:
    project = _project(client)
    first = client.push(project.id, [_task("a"), _task("b")])
    again = client.push(project.id, [_task("a"), _task("b"), _task("c")])
    assert {case_id: again[case_id] for case_id in first} == first
    assert browser.get(f"/api/projects/{project.id}/").json()["task_number"] == 3
    assert client.known_tasks(project.id, ["a", "c", "nobody"]) == {"a": again["a"], "c": again["c"]}


def test_many_tasks_are_found_again_whatever_their_ids(client: Client) -> None:
    project = _project(client)
    case_ids = [f'{number} "é", [&] 😀' for number in range(230)]
    tasks = client.push(project.id, [_task(case_id) for case_id in case_ids])
    assert client.known_tasks(project.id, case_ids) == tasks
    assert len(set(tasks.values())) == 230


def test_the_server_checks_what_is_filled_in(client: Client) -> None:
    project = _project(client)
    wrong = _task("a")
    wrong["predictions"][0]["result"][0]["value"]["choices"] = ["4"]
    with pytest.raises(LabelStudioRefused, match="400"):
        client.push(project.id, [wrong])
    assert client.known_tasks(project.id, ["a"]) == {}


@pytest.mark.parametrize(
    "labels",
    [
        {"main_category": "Child Maintenance & Custody", "sub_category": "No Care Giver"},
        {"priority": "1"},
        {"intervention": ["Counselling", "Awareness/Information Provided"]},
        {"intervention": []},
        {"entities": [{"start": 2, "end": 9, "label": "NAME"}, {"start": 13, "end": 19, "label": "AGE"}]},
        {"entities": []},
        {"call_quality": {"opening": {"phrase": True}, "hold": {"explains": None, "thanks": False}}},
    ],
    ids=["choice with parent", "choice", "choices", "no choices", "spans", "no spans", "rubric"],
)
def test_labels_put_in_come_back_exactly(client: Client, browser: httpx.Client, labels: Labels) -> None:
    project = _project(client)
    # Filled in too, so that the server, which checks only predictions, agrees with our reading of the configuration.
    task = payloads.task(HELPLINE, "a", TEXT, None, "v1", rank=0.0)
    task["predictions"][0]["result"] = payloads.result_of(HELPLINE, labels)
    _submit(browser, client.push(project.id, [task])["a"], labels, lead_time=3.5)
    (received,) = _received(client, project, "a")
    assert (received.labels, received.problems) == (labels, ())
    assert (received.project, received.case_id, received.lead_time) == (project.id, "a", 3.5)
    assert received.completed_by == browser.get("/api/current-user/whoami").json()["id"]


def test_a_schema_full_of_markup_works_like_any_other(client: Client, browser: httpx.Client) -> None:
    nasty = ["true", "a,b", "50%", '"><Choice value="x"/>', "$text", "é\n2", "%none", "<b>&amp;"]
    labels = tuple(Label(key, key, key) for key in nasty)
    top = Head("text", "$case_id", Kind.CHOICE, "1 < 2?", labels)
    below = tuple(Label(f"{key}/{side}", "Same", "x", parent=key) for key in nasty for side in ("l", "r"))
    child = Head("case_id", "]]>", Kind.CHOICE, "", below, parent="text")
    schema = Schema("nasty", 1, "<i>T</i>", "<script>alert(1)</script>", (top, child), "")
    project = _project(client, schema)
    for number, key in enumerate(nasty):
        wanted: Labels = {"text": key, "case_id": f"{key}/r"}
        prediction = {head: HeadPrediction(answer, 0.5) for head, answer in wanted.items()}
        tasks = client.push(project.id, [payloads.task(schema, str(number), TEXT, prediction, "v1", rank=0.0)])
        _submit(browser, tasks[str(number)], wanted, schema)
        (received,) = _received(client, project, str(number), schema)
        assert (received.labels, received.problems) == (wanted, ())


def test_a_skip_is_cancelled_and_has_no_labels(client: Client, browser: httpx.Client) -> None:
    project = _project(client)
    task = client.push(project.id, [_task("a")])["a"]
    _submit(browser, task, {"priority": "1"}, was_cancelled=True)
    (received,) = _received(client, project, "a")
    assert received.was_cancelled
    assert received.labels == {}


def test_an_edit_a_second_annotation_and_a_deletion_are_seen(client: Client, browser: httpx.Client) -> None:
    project = _project(client)
    task = client.push(project.id, [_task("a")])["a"]
    first = _submit(browser, task, {"priority": "1"})
    (before,) = _received(client, project, "a")
    browser.patch(
        f"/api/annotations/{first}/", json={"result": payloads.result_of(HELPLINE, {"priority": "3"})}
    ).raise_for_status()
    second = _submit(browser, task, {"priority": "2"})
    after = {received.id: received for received in _received(client, project, "a")}
    assert {number: received.labels for number, received in after.items()} == {
        first: {"priority": "3"},
        second: {"priority": "2"},
    }
    assert after[first].updated_at > before.updated_at
    browser.delete(f"/api/annotations/{first}/").raise_for_status()
    assert [received.id for received in _received(client, project, "a")] == [second]


def test_a_poll_returns_only_what_changed_and_goes_on_from_its_cursor(
    client: Client, browser: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annotate.client.PAGE", 2)
    monkeypatch.setattr("annotate.client.OVERLAP", OVERLAP * 0)
    project = _project(client)
    tasks = client.push(project.id, [_task(f"c{number}") for number in range(5)])
    pages = list(client.changed_since(project.id))
    assert [[task.case_id for task in page.tasks] for page in pages] == [["c0", "c1"], ["c2", "c3"], ["c4"]]
    assert [page.cursor for page in pages[:2]] == [BEGINNING, BEGINNING]
    threading.Event().wait(1.1)  # The cursor is in whole seconds
    (idle,) = client.changed_since(project.id, list(client.changed_since(project.id))[-1].cursor)
    assert idle.tasks == ()
    annotation = _submit(browser, tasks["c1"], {"priority": "1"})
    assert list(_changed(client, project, idle.cursor)) == ["c1"]
    browser.delete(f"/api/annotations/{annotation}/").raise_for_status()
    assert _changed(client, project, idle.cursor)["c1"].annotations == ()


def test_people_get_the_case_with_the_highest_rank_first_blind_ones_too(client: Client, browser: httpx.Client) -> None:
    project = _project(client)
    ranks = {"a": -20613.0, "b": -20610.5, "blind": -20611.0, "c": -20613.01}
    tasks = client.push(
        project.id, [_task(case_id, rank=rank, blind=case_id == "blind") for case_id, rank in ranks.items()]
    )
    served = []
    for _ in tasks:
        task = browser.get(f"/api/projects/{project.id}/next").json()
        served.append(task["data"]["case_id"])
        _submit(browser, task["id"], {"priority": "1"})
    assert served == ["b", "blind", "a", "c"]


def test_withdrawing_keeps_what_people_worked_on_unless_all_must_go(client: Client, browser: httpx.Client) -> None:
    project = _project(client)
    tasks = client.push(project.id, [_task(case_id) for case_id in "abcd"])
    _submit(browser, tasks["a"], {"priority": "1"})
    _submit(browser, tasks["b"], {}, was_cancelled=True)
    draft = {"result": payloads.result_of(HELPLINE, {"priority": "1"}), "lead_time": 1}
    browser.post(f"/api/tasks/{tasks['c']}/drafts", json=draft).raise_for_status()
    some = client.withdraw(project.id, ["a", "b", "c", "d", "gone"])
    assert (some.gone, some.kept) == (("d", "gone"), ("a", "b", "c"))
    assert sorted(client.known_tasks(project.id, list("abcd"))) == ["a", "b", "c"]
    every = client.withdraw(project.id, ["a", "b", "c", "d"], keep_annotated=False)
    assert (every.gone, every.kept) == (("a", "b", "c", "d"), ())
    assert client.known_tasks(project.id, list("abcd")) == {}


def test_new_predictions_take_the_place_of_the_old_ones(client: Client, browser: httpx.Client) -> None:
    project = _project(client)
    tasks = client.push(project.id, [_task("a", rank=1.0), _task("b", rank=2.0)])
    entries = {
        tasks[case_id]: payloads.predictions_entry(HELPLINE, {"priority": HeadPrediction("1", 0.9)}, "v2", rank=rank)
        for case_id, rank in {"a": 2.0, "b": 1.0}.items()
    }
    for _ in range(2):  # Again, as after a crash: nothing is doubled
        client.replace_predictions(project.id, entries, "v2")
    assert client.get_project(project.id).model_version == "v2"
    task = browser.get(f"/api/projects/{project.id}/next").json()
    assert task["data"]["case_id"] == "a"
    known = browser.get("/api/predictions/", params={"project": project.id}).json()
    assert [(found["model_version"], found["result"][0]["value"]["choices"]) for found in known] == [("v2", ["1"])] * 2


class _Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.received.append((self.headers.get(webhooks.SECRET_HEADER), body))  # type: ignore[attr-defined]
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def test_a_webhook_is_made_once_and_nudges_with_the_secret_and_no_text(client: Client, browser: httpx.Client) -> None:
    project = _project(client)
    task = client.push(project.id, [_task("a")])["a"]
    with HTTPServer(("127.0.0.1", 0), _Receiver) as server:
        server.received = received = []  # type: ignore[attr-defined]
        server.timeout = 10
        url = f"http://127.0.0.1:{server.server_port}/hook/"
        first = client.ensure_webhook(project.id, url, "old secret")
        assert client.ensure_webhook(project.id, url, "new secret") == first
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        _submit(browser, task, {"priority": "1"})
        thread.join()
    ((secret, body),) = received
    assert webhooks.is_authentic(secret, "new secret")
    assert webhooks.parse(body) == webhooks.Nudge("ANNOTATION_CREATED")
    assert json.loads(body) == {"action": "ANNOTATION_CREATED"}


def test_a_project_that_is_gone_is_refused_and_not_down(client: Client) -> None:
    with pytest.raises(LabelStudioRefused, match="404"):
        client.push(987654, [_task("a")])


def test_a_label_may_be_renamed_while_people_work(client: Client, browser: httpx.Client) -> None:
    project = _project(client)
    task = client.push(project.id, [_task("a")])["a"]
    _submit(browser, task, {"priority": "1"})
    heads = tuple(
        replace(head, labels=tuple(replace(label, name=f"Now {label.key}") for label in head.labels))
        for head in HELPLINE.heads
    )
    renamed = replace(HELPLINE, heads=heads)
    client.ensure_project(project.title, config.build(renamed), "", project=project.id)
    (received,) = _received(client, project, "a", renamed)
    assert received.labels == {"priority": "1"}
