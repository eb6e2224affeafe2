"""A client of Caseloop's API, in one file to copy into a program; it needs httpx.

with Caseloop("https://caseloop.example.org", token) as caseloop:
    for result in caseloop.send("helpline", [{"external_id": "17", "text": "She is hungry."}]):
        print(result["status"], *result["problems"])
    for case in caseloop.search(state="decided"):
        print(case["external_id"], case["labels"])
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Literal, NotRequired, Self, TypedDict
from uuid import uuid4

import httpx

AT_ONCE = 500  # Items of one request
AGAIN = (429, 502, 503, 504)  # Answers after which the same request may be sent again


class NewCase(TypedDict):
    """A case as it is sent. Without an external id, it is known by the key of its request."""

    text: str
    external_id: NotRequired[str]
    conversation: NotRequired[str]
    sent_at: NotRequired[str]
    metadata: NotRequired[dict[str, Any]]


class Result(TypedDict):
    """What became of one case that was sent."""

    status: Literal["created", "known", "refused"]
    id: int | None
    external_id: str | None
    problems: list[str]


class Answer(TypedDict):
    """What a version says of one head."""

    answer: Any
    confidence: float | None
    probabilities: dict[str, float] | None
    words: list[tuple[int, int, float]] | None


class Prediction(TypedDict):
    """What a version says of a case, and whether that is like those that it learnt from."""

    version: str
    is_trained: bool
    is_familiar: bool
    at: str
    heads: dict[str, Answer]


class Label(TypedDict):
    """The answer that stands for a head."""

    answer: Any
    rule: str
    decided_by: Literal["supervisor", "annotator", "system", "import"]
    at: str


class Case(TypedDict):
    """What is known of a case."""

    id: int
    source: str
    external_id: str
    schema: str
    conversation: str | None
    state: str
    received_at: str
    sent_at: str | None
    is_blind: bool
    prediction: Prediction | None
    flags: list[dict[str, str | None]]
    labels: dict[str, Label]


class Correction(TypedDict):
    """What your system says of a case, which it names by either id."""

    labels: dict[str, Any]
    id: NotRequired[int]
    external_id: NotRequired[str]
    note: NotRequired[str]


class Corrected(TypedDict):
    """What became of one correction."""

    status: Literal["stored", "known", "refused"]
    heads: list[str]
    problems: list[str]


class Refused(Exception):
    """A request that was not answered as asked; `status` and `detail` say why."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"{status}: {detail}")
        self.status, self.detail = status, detail


class Caseloop:
    """Speaks to one Caseloop with one token.

    Args:
        address: where it is, without a path.
        token: as `manage.py create_token` prints it.
        patience_seconds: to wait in all for one request, where it is answered that later may do, or not at all.
        timeout_seconds: of one request.
        wait: what waits between tries.
    """

    def __init__(
        self,
        address: str,
        token: str,
        *,
        patience_seconds: float = 120.0,
        timeout_seconds: float = 60.0,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.patience_seconds, self.wait = patience_seconds, wait
        self._http = httpx.Client(
            base_url=address.rstrip("/") + "/api/v1",
            headers={"Authorization": f"Bearer {token}"},
            timeout=timeout_seconds,
        )

    def __enter__(self) -> Self:
        """Use it in a block, at whose end its connections are closed."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close its connections."""
        self._http.close()

    def send(self, schema: str, cases: Iterable[NewCase], *, key: str = "") -> list[Result]:
        """Send cases, 500 at a time, and return what became of each, in order.

        Args:
            schema: the name of the label schema.
            key: that makes the same cases the same once more, as after a restart; a new one unless given.
        """
        key, rest = key or str(uuid4()), iter(cases)
        found: list[Result] = []
        while batch := list(islice(rest, AT_ONCE)):
            body, again = {"schema": schema, "cases": batch}, {"Idempotency-Key": f"{key}-{len(found) // AT_ONCE}"}
            found += self._call("POST", "/cases", body, again)["results"]
        return found

    def read(self, case: int) -> Case:
        """Return what is known of a case, by its id here."""
        found: Case = self._call("GET", f"/cases/{case}")
        return found

    def search(self, *, limit: int = AT_ONCE, **limits: Any) -> Iterator[Case]:
        """Yield all cases that fit, the oldest first, page by page.

        Args:
            limit: cases of a page.
            limits: any of `schema`, `state`, `source`, `external_ids`, `conversation`, `words`.
        """
        after: int | None = 0
        while after is not None:
            page = self._call("POST", "/cases/search", {**limits, "limit": limit, "after": after})
            yield from page["cases"]
            after = page["after"]

    def withdraw(self, case: int) -> Case:
        """Take a case back, and return what is known of it then."""
        found: Case = self._call("POST", f"/cases/{case}/withdraw")
        return found

    def predict(
        self,
        schema: str,
        texts: Sequence[str],
        *,
        heads: Sequence[str] | None = None,
        probabilities: bool = False,
        explain: bool = False,
    ) -> list[dict[str, Answer]]:
        """Return what the version in use says of up to 500 texts, which are not stored."""
        body = {"schema": schema, "texts": texts, "heads": heads, "probabilities": probabilities, "explain": explain}
        found: list[dict[str, Answer]] = self._call("POST", "/predict", body)["predictions"]
        return found

    def correct(self, corrections: Iterable[Correction]) -> list[Corrected]:
        """Tell the labels that your system has, 500 at a time, and return what became of each, in order."""
        rest = iter(corrections)
        found: list[Corrected] = []
        while batch := list(islice(rest, AT_ONCE)):
            found += self._call("POST", "/corrections", {"corrections": batch})["results"]
        return found

    def _call(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Any:
        """Send a request until it is answered for good; each can be sent twice without harm.

        Raises:
            Refused: it is answered otherwise than 2xx, or after all patience still with `AGAIN`.
            httpx.TransportError: it is not answered at all.
        """
        left, pause = self.patience_seconds, 1.0
        while True:
            try:
                answer = self._http.request(method, path, json=body, headers=headers)
            except httpx.TransportError:
                if pause > left:
                    raise
            else:
                if answer.is_success:
                    return answer.json()
                pause = max(pause, _asked_to_wait(answer))
                if answer.status_code not in AGAIN or pause > left:
                    raise Refused(answer.status_code, _detail(answer))
            self.wait(pause)
            left -= pause
            pause = min(2 * pause, 30.0)


def _asked_to_wait(answer: httpx.Response) -> float:
    given = answer.headers.get("Retry-After", "")
    return float(given) if given.isdecimal() else 0.0


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return answer.reason_phrase
