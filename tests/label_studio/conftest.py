"""What the tests of the traffic with a real Label Studio share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from annotate import payloads
from ml import schema as shipped
from ml.types import Labels, Prediction
from tests.conftest import helpline_prediction, predict, trained_version
from tests.engines import NOBODY_LISTENS
from webapp.actions import label_studio as sync
from webapp.actions import people, promotions
from webapp.locks import only_one
from webapp.models import (
    Case,
    CaseState,
    LabelStudioProject,
    LabelStudioTask,
    ModelVersion,
    Outbox,
    Schema,
)

HELPLINE = shipped.load("helpline")
TEXT = "Wanjiru is twelve and lives in Kisumu."
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


def somebody_else(browser: httpx.Client) -> int:
    """The number of a second person in Label Studio, whose answers the first may hand in."""
    known = {user["email"]: user["id"] for user in browser.get("/api/users/").json()}
    if "amina@example.org" not in known:
        names = {"email": "amina@example.org", "username": "amina", "first_name": "Amina", "last_name": "Otieno"}
        return int(browser.post("/api/users/", json=names).json()["id"])
    return int(known["amina@example.org"])


def labels_of(case: Case) -> Labels:
    return dict(case.labels.values_list("head", "answer"))


@pytest.fixture
def embedded(label_studio: Any, settings: Any) -> None:
    """The Label Studio as the one that Caseloop runs, and says of who is let in."""
    settings.LABEL_STUDIO_IS_EMBEDDED = True
    settings.LABEL_STUDIO_BRIDGE_SECRET = label_studio.bridge_secret
    settings.LABEL_STUDIO_PEOPLE = label_studio.data / "caseloop-people.json"


@contextmanager
def in_label_studio(user: User, path: str = "/projects/") -> Iterator[httpx.Client]:
    """What the browser of one of our people asks, who came there by our link."""
    link = urlsplit(people.label_studio_link(user, path, back=f"{NOBODY_LISTENS}/label/helpline/open/"))
    with httpx.Client(base_url=f"{link.scheme}://{link.netloc}", timeout=60, follow_redirects=True) as http:
        page = http.get(f"{link.path}?{link.query}")
        assert (page.status_code, page.url.path) == (200, path)
        yield http


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
