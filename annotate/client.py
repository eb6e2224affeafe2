"""The only module that speaks to Label Studio. It raises only the errors of `annotate.errors`.

Whatever it does can be done again without harm: it looks before it writes, and finds cases by `data.case_id`, because
Label Studio accepts duplicates and gives the number of a deleted task to a new one. It has no unique constraint, so the
caller holds a lock per project around what writes.

The SDK takes seconds and a hundred megabytes to import, so that happens when the first request is made. It is kept
from retrying: it would repeat a POST whose answer was lost, and the caller knows better when to ask again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Self, TypeVar

import httpx

from annotate import config, webhooks
from annotate.errors import LabelStudioDown, LabelStudioError, LabelStudioRefused

IMPORT_BATCH = 500  # Tasks or predictions in one request
LOOKUP_BATCH = 50  # Case ids in one request: filters travel in the request line, which servers cut at 4 or 8 kB
PAGE = 200  # Tasks with their annotations in one answer
LONGEST_DETAIL = 200
BEGINNING = "1970-01-01T00:00:00.000000Z"
TIME_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"  # The only one that the filters take; any other is a server error
# A change is stamped before it is committed, so what is stamped a moment ago may not be visible yet.
OVERLAP = timedelta(seconds=5)
NO_RETRY: Any = {"max_retries": 0}
TOO_BUSY = (408, 429)
MISSING = 404
ANNOTATION_FIELDS = (
    "id,data,project,updated_at,annotations,result,created_at,completed_by,was_cancelled,lead_time,parent_prediction,"
    "import_id"  # By which we know what we put back ourselves
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Project:
    """A project as it stands."""

    id: int
    title: str
    model_version: str


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who can sign in to Label Studio."""

    id: int
    email: str


@dataclass(frozen=True, slots=True)
class ChangedTask:
    """A task whose annotations changed, with all that it has now: one that the caller knew and misses was deleted.

    `json` and each annotation are what `payloads.annotation_of` reads.
    """

    id: int
    case_id: str
    json: Mapping[str, Any]
    annotations: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Page:
    """Some changed tasks, and the cursor to store with them: it moves only with the last page of a poll."""

    tasks: tuple[ChangedTask, ...]
    cursor: str


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The case ids whose tasks are gone, and those that were kept since somebody has annotated them."""

    gone: tuple[str, ...]
    kept: tuple[str, ...]


class Client:
    """A connection to one Label Studio. Use it in a `with` block, or close it.

    Args:
        url: its address.
        api_key: a legacy token or a personal access token of an owner.
        timeout_seconds: how long to wait for an answer.
        transport: stands in for the network in tests.
    """

    def __init__(
        self, url: str, api_key: str, *, timeout_seconds: float = 60.0, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._url = url.rstrip("/")
        self._api_key = api_key
        # Redirects are not followed: they could lead a request with our token anywhere.
        self._http = httpx.Client(timeout=timeout_seconds, follow_redirects=False, transport=transport)
        self._sdk: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    # ---- projects

    def ensure_project(self, title: str, xml: str, instructions: str, *, project: int | None = None) -> Project:
        """Make sure that a project exists and is set up so; what annotators changed in it is put back.

        Args:
            title: 3 to 50 characters; finds the project where its id is not known.
            xml: the labelling configuration, from `config.build`.
            instructions: HTML, from `config.guidelines`.
            project: the id, if it is known; titles can be changed by anybody.
        """
        wanted = {
            "label_config": xml,
            "expert_instruction": instructions,
            "show_instruction": True,
            "sampling": "Uncertainty sampling",  # Serves the lowest score first, see `payloads.score_of`
            "show_collab_predictions": True,  # Fills in the predictions
            "enable_empty_annotation": False,
            "skip_queue": "REQUEUE_FOR_OTHERS",
        }
        found = project or self._project_titled(title)
        if found is None:
            found = self._call(lambda sdk: sdk.projects.create(title=title, **wanted, request_options=NO_RETRY)).id
        else:
            self._call(lambda sdk: sdk.projects.update(found, title=title, **wanted, request_options=NO_RETRY))
        return self.get_project(found)

    def get_project(self, project: int) -> Project:
        """Return a project as it stands now."""
        found = self.ask("GET", f"api/projects/{project}/")
        return Project(found["id"], found["title"], found["model_version"] or "")

    # ---- tasks

    def known_tasks(self, project: int, case_ids: Sequence[str]) -> dict[str, int]:
        """Return the task of each case that has one."""
        return {case_id: min(tasks) for case_id, tasks in self._tasks_by_case(project, case_ids).items()}

    def push(self, project: int, tasks: Sequence[Mapping[str, Any]]) -> dict[str, int]:
        """Import the tasks of cases that have none yet; return the task of every case.

        Args:
            project: its id.
            tasks: from `payloads.task`.

        Raises:
            LabelStudioError: fewer tasks or predictions were stored than sent.
        """
        by_case = {str(task["data"][config.CASE_ID]): task for task in tasks}
        found = self.known_tasks(project, list(by_case))
        missing = [case_id for case_id in by_case if case_id not in found]
        for case_ids in _batches(missing, IMPORT_BATCH):
            batch = [dict(by_case[case_id]) for case_id in case_ids]
            stored = self._import(project, batch)
            _expect_all(len(stored.task_ids or ()), len(batch), "tasks")
            _expect_all(stored.prediction_count, sum(len(task["predictions"]) for task in batch), "predictions")
            found.update(zip(case_ids, stored.task_ids, strict=True))  # Ids come back in the order sent
        return found

    def ask_several(self, task: int, people: int) -> None:
        """Have a task served until so many people have answered it."""
        self.ask("PATCH", f"api/tasks/{task}/", json={"overlap": people})

    def withdraw(self, project: int, case_ids: Sequence[str], *, keep_annotated: bool = True) -> Withdrawn:
        """Delete the tasks of cases; where `keep_annotated`, not those that somebody has annotated, skipped or begun.

        With `keep_annotated=False` everything of the cases goes, as erasure demands.
        """
        there = self._tasks_by_case(project, case_ids)
        pairs = [(case_id, task) for case_id, tasks in there.items() for task in tasks]
        kept = [case_id for case_id, task in pairs if not self.remove(task, keep_annotated=keep_annotated)]
        return Withdrawn(tuple(case_id for case_id in case_ids if case_id not in kept), tuple(dict.fromkeys(kept)))

    def remove(self, task: int, *, keep_annotated: bool = True) -> bool:
        """Tell whether a task is gone now; `keep_annotated` as in `withdraw`."""
        if keep_annotated and self._is_touched(task):
            return False
        self._request("DELETE", f"api/tasks/{task}/", may_be_gone=True)
        return True

    def replace_predictions(self, project: int, predictions: Mapping[int, Mapping[str, Any]], version: str) -> None:
        """Put the predictions of a new model version in the place of all older ones.

        Args:
            project: its id.
            predictions: by task, from `payloads.predictions_entry`. It must name every task that is still open, blind
                ones too: a task without a prediction of the current version is served in no order.
            version: the model version.
        """
        self._delete_predictions(project, version)  # Left by an earlier attempt; they would be there twice
        entries = [{"task": task, **entry} for task, entry in predictions.items()]
        for batch in _batches(entries, IMPORT_BATCH):
            stored = self.ask("POST", f"api/projects/{project}/import/predictions", json=batch)["created"]
            _expect_all(stored, len(batch), "predictions")
        self._call(lambda sdk: sdk.projects.update(project, model_version=version, request_options=NO_RETRY))
        for known in self.ask("GET", f"api/projects/{project}/model-versions/", params={"extended": True})["static"]:
            if known["model_version"] != version:
                self._delete_predictions(project, known["model_version"])

    def changed_since(self, project: int, cursor: str = BEGINNING) -> Iterator[Page]:
        """Yield the tasks whose annotations were made, edited, skipped or deleted since a cursor, at least one page.

        What was seen before may come again, so the caller stores by annotation id and `updated_at`. Deleted tasks are
        not seen; `known_tasks` tells which are left.
        """
        seen, next_cursor = 0, ""
        while True:
            # By id, not by time or page number: a change between two pages moves tasks about, and one would be missed.
            after = [("tasks:id", "greater", "Number", seen), ("tasks:updated_at", "greater", "Datetime", cursor)]
            params = {"fields": "all", "include": ANNOTATION_FIELDS, "page_size": PAGE}
            response = self._tasks(project, after, params)
            found = response.json()["tasks"]
            next_cursor = next_cursor or _moment_of(response, cursor)
            is_last = len(found) < PAGE
            yield Page(tuple(_changed(task, project) for task in found), next_cursor if is_last else cursor)
            if is_last:
                return
            seen = found[-1]["id"]

    # ---- webhooks and users

    def ensure_webhook(self, project: int, url: str, secret: str) -> int:
        """Make sure that a project nudges us with the secret in a header; return the webhook's id.

        Only the action is sent. The full payload would carry the case and the project's token.
        """
        wanted = {
            "headers": {webhooks.SECRET_HEADER: secret},
            "actions": list(webhooks.ACTIONS),
            "is_active": True,
            "send_payload": False,
            "send_for_all_actions": False,
        }
        known = self.ask("GET", "api/webhooks/", params={"project": project})
        same = [hook["id"] for hook in known if hook["url"] == url]
        for extra in same[1:]:
            self._request("DELETE", f"api/webhooks/{extra}/", may_be_gone=True)
        if same:
            self.ask("PATCH", f"api/webhooks/{same[0]}/", json={"url": url, **wanted})
            return int(same[0])
        return int(self.ask("POST", "api/webhooks/", json={"url": url, "project": project, **wanted})["id"])

    def users(self) -> list[User]:
        """Return everybody who can sign in."""
        return [User(user.id, user.email) for user in self._call(lambda sdk: sdk.users.list(request_options=NO_RETRY))]

    def ensure_user(self, email: str, first_name: str, last_name: str) -> User:
        """Return the user with that address, in capitals or not; make one, without a password, where there is none."""
        for user in self.users():
            if user.email.lower() == email.lower():
                return user
        names = {"email": email, "username": email, "first_name": first_name, "last_name": last_name}
        return User(self.ask("POST", "api/users/", json=names)["id"], email)

    # ---- how it is said

    def _project_titled(self, title: str) -> int | None:
        found = self._call(
            lambda sdk: [(p.id, p.title) for p in sdk.projects.list(title=title, request_options=NO_RETRY)]
        )
        return min((number for number, name in found if name == title), default=None)

    def _tasks_by_case(self, project: int, case_ids: Sequence[str]) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for batch in _batches(case_ids, LOOKUP_BATCH):
            seen = 0
            while True:
                filters = [("tasks:data.case_id", "in_list", "List", batch), ("tasks:id", "greater", "Number", seen)]
                page = self._tasks(project, filters, {"include": "id,data", "page_size": PAGE}).json()["tasks"]
                for task in page:
                    found.setdefault(str(task["data"][config.CASE_ID]), []).append(task["id"])
                if len(page) < PAGE:
                    break
                seen = page[-1]["id"]
        return found

    def _tasks(
        self, project: int, filters: Sequence[tuple[str, str, str, Any]], params: Mapping[str, Any]
    ) -> httpx.Response:
        items = [
            {"filter": f"filter:{name}", "operator": operator, "type": kind, "value": value}
            for name, operator, kind, value in filters
        ]
        query = {"filters": {"conjunction": "and", "items": items}, "ordering": ["tasks:id"]}
        return self._request("GET", "api/tasks/", params={"project": project, "query": json.dumps(query), **params})

    def _is_touched(self, task: int) -> bool:
        found = self._request("GET", f"api/tasks/{task}/", may_be_gone=True)
        return found.is_success and bool(found.json().get("annotations") or found.json().get("drafts"))

    def _import(self, project: int, batch: list[dict[str, Any]]) -> Any:
        rest = {"return_task_ids": True, "request_options": NO_RETRY}
        # What is refused here could be quoted in the answer, and here that is the text of a case.
        return self._call(lambda sdk: sdk.projects.import_tasks(project, request=batch, **rest), may_quote=False)

    def _delete_predictions(self, project: int, version: str) -> None:
        self._request("DELETE", f"api/projects/{project}/model-versions/", json={"model_version": version})

    def _call(self, ask: Callable[[Any], T], *, may_quote: bool = True) -> T:
        """Ask through the SDK. `may_quote=False` where a refusal could quote the text of a case."""
        from label_studio_sdk.core.api_error import ApiError  # noqa: PLC0415 - slow to import

        with _no_network_errors():
            try:
                return ask(self._connected())
            except ApiError as exc:
                refusal = _refusal(exc.status_code or 0, exc.body if may_quote else None)
        raise refusal

    def _request(self, method: str, path: str, *, may_be_gone: bool = False, **rest: Any) -> httpx.Response:
        """Ask for what the SDK has no method for, or only a slow one, with its address and its authorisation."""
        response: httpx.Response = self._call(
            lambda sdk: sdk._client_wrapper.httpx_client.request(path, method=method, request_options=NO_RETRY, **rest)
        )
        if response.is_success or (may_be_gone and response.status_code == MISSING):
            return response
        raise _refusal(response.status_code, _json_or_none(response))

    def ask(self, method: str, path: str, **rest: Any) -> Any:
        """Return the JSON that an address answers with."""
        return self._request(method, path, **rest).json()

    def _connected(self) -> Any:
        if self._sdk is None:
            from label_studio_sdk import LabelStudio  # noqa: PLC0415 - takes seconds and a hundred megabytes

            connect: Callable[..., Any] = LabelStudio
            self._sdk = connect(base_url=self._url, api_key=self._api_key, httpx_client=self._http)
        return self._sdk


@contextmanager
def _no_network_errors() -> Iterator[None]:
    try:
        yield
    except (httpx.TransportError, httpx.InvalidURL) as exc:
        raise LabelStudioDown(f"Label Studio cannot be reached ({type(exc).__name__})") from exc


def _refusal(status: int, body: object) -> LabelStudioError:
    """Make an error of an answer. Only a short JSON detail is repeated: bodies may be pages of HTML."""
    if status >= 500 or status in TOO_BUSY:
        return LabelStudioDown(f"Label Studio answered with status {status}")
    detail = body.get("detail") if isinstance(body, Mapping) else None
    shown = detail[:LONGEST_DETAIL] if isinstance(detail, str) else "no detail"
    return LabelStudioRefused(status, shown)


def _json_or_none(response: httpx.Response) -> object:
    try:
        return response.json()
    except ValueError:
        return None


def _expect_all(stored: int, sent: int, what: str) -> None:
    if stored != sent:
        raise LabelStudioError(f"Label Studio stored {stored} of {sent} {what}")


def _batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _changed(task: Mapping[str, Any], project: int) -> ChangedTask:
    kept = {"id": task["id"], "project": project, "data": task["data"]}
    return ChangedTask(task["id"], str(task["data"].get(config.CASE_ID)), kept, tuple(task.get("annotations") or ()))


def _moment_of(response: httpx.Response, cursor: str) -> str:
    """Return the cursor that a poll leads to: the server's own time when it began, less the overlap.

    The newest change that was seen would not do. While a poll reads on, a task that it has passed may change, and one
    that it has yet to reach may change later still.
    """
    try:
        moment = parsedate_to_datetime(response.headers["date"]).astimezone(UTC) - OVERLAP
    except (KeyError, ValueError):
        return cursor  # Without the time, read everything again rather than lose something
    return max(cursor, moment.strftime(TIME_FORMAT))
