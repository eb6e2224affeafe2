"""Annotators who answer case after case until they are told to stop, through Label Studio's API or in a browser."""

from __future__ import annotations

import random
import re
import shutil
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import httpx
from lxml import html
from playwright.sync_api import Error as BrowserError
from playwright.sync_api import Page, Route, sync_playwright

from annotate import payloads
from ml import schema as shipped
from ml.types import Labels
from tests.stack import Stack

HELPLINE = shipped.load("helpline")
OPEN = "/label/helpline/open/"
ANNOTATIONS = "**/api/tasks/*/annotations*"
SUBMIT = "bottombar-submit-button"
SKIPS, EDITS, DELETIONS = 0.05, 0.1, 0.03  # Shares of what an annotator does
THINKING_SECONDS = (0.3, 1.5)
QUIET = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync", "--disable-background-networking"]


def answers(rng: random.Random) -> Labels:
    """Return an answer to every head that an annotator must answer, drawn by lot."""
    sub = rng.choice(HELPLINE.head("sub_category").labels)
    return {
        "main_category": str(sub.parent),
        "sub_category": sub.key,
        "intervention": [rng.choice(HELPLINE.head("intervention").keys)],
        "priority": rng.choice(HELPLINE.head("priority").keys),
    }


class Annotator(threading.Thread, ABC):
    """One person, who stops when `over` is set.

    Attributes:
        made: by the mark or number of each annotation that Label Studio has confirmed, whether it was deleted again.
        met: how often it met what.
        broken: why it ended before its time.
    """

    def __init__(self, stack: Stack, name: str, password: str, over: threading.Event) -> None:
        super().__init__(name=name, daemon=True)
        self.stack, self.password, self.over = stack, password, over
        self.rng = random.Random(name)
        self.made: dict[str, bool] = {}
        self.met: Counter[str] = Counter()
        self.broken = ""

    def run(self) -> None:
        """Work; what breaks is told by whoever waits for this thread."""
        try:
            self.work()
        except Exception as exc:  # A thread has nobody else to tell
            self.broken = f"{type(exc).__name__}: {exc}"[:500]

    @abstractmethod
    def work(self) -> None:
        """Answer case after case."""

    def think(self) -> None:
        """Wait as a person in a hurry does."""
        self.over.wait(self.rng.uniform(*THINKING_SECONDS))


class ApiAnnotator(Annotator):
    """Somebody who is signed in to Label Studio as our page signs people in, and asks its API."""

    def work(self) -> None:
        """Take what is served and answer it; skip some, mend some, delete some."""
        with httpx.Client(follow_redirects=True, timeout=30) as http:
            project = self._enter(http)
            while not self.over.is_set():
                served = self._ask(http, "GET", f"{project}/next/")
                if served.status_code != httpx.codes.OK:
                    self.met[f"next {served.status_code}"] += 1
                    self.over.wait(2)
                    continue
                self._answer(http, served.json()["id"])
                self.think()

    def _enter(self, http: httpx.Client) -> str:
        """Sign in, and return the address of the project in the API."""
        sign_in = f"{self.stack.url}/sign-in/"
        form = dict(html.fromstring(http.get(sign_in).content).forms[0].form_values())
        http.post(sign_in, data=form | {"username": self.name, "password": self.password}, headers={"Referer": sign_in})
        place = str(http.get(self.stack.url + OPEN).url)
        found = re.match(r"(http://[^/]+)/projects/(\d+)/data", place)
        assert found, f"expected to be in Label Studio, am at {place}"
        self.server = found[1]
        return f"/api/projects/{found[2]}"

    def _answer(self, http: httpx.Client, task: int) -> None:
        mark = str(uuid4())
        is_skip = self.rng.random() < SKIPS
        body = {"result": self._result(), "unique_id": mark, "was_cancelled": is_skip, "lead_time": 3.0}
        made = self._ask(http, "POST", f"/api/tasks/{task}/annotations/", body)
        # 409: it was stored the first time, and only the answer was lost
        if made.status_code not in (httpx.codes.CREATED, httpx.codes.CONFLICT):
            self.met[f"refused {made.status_code}"] += 1
            return
        self.made[mark] = False
        self.met["skips" if is_skip else "answers"] += 1
        if made.status_code == httpx.codes.CONFLICT:
            self.met["answers sent twice"] += 1
            return
        self.think()
        address, chance = f"/api/annotations/{made.json()['id']}/", self.rng.random()
        if not is_skip and chance < EDITS:
            edited = self._ask(http, "PATCH", address, {"result": self._result()})
            self.met["edits" if edited.is_success else f"refused {edited.status_code}"] += 1
        elif chance > 1 - DELETIONS:
            self.made[mark] = self._ask(http, "DELETE", address).status_code in (204, 404)
            self.met["deletions"] += 1

    def _result(self) -> list[Any]:
        return payloads.result_of(HELPLINE, answers(self.rng))

    def _ask(self, http: httpx.Client, method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
        """Ask until Label Studio answers: a person presses the button again."""
        while True:
            try:
                answer = http.request(method, self.server + path, json=body)
            except httpx.TransportError:
                self.met["no answer"] += 1
            else:
                if answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                    return answer
                self.met[f"{method} {answer.status_code}"] += 1
            time.sleep(1)


class BrowserAnnotator(Annotator):
    """Somebody who comes from our page, submits what is filled in, and goes on as they are led."""

    def work(self) -> None:
        """Open case after case in Chromium."""
        path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        with sync_playwright() as playwright:
            chromium = playwright.chromium.launch(executable_path=path, args=QUIET)
            page = chromium.new_context(viewport={"width": 1280, "height": 900}).new_page()
            page.goto(f"{self.stack.url}/sign-in/")
            page.fill("#id_username", self.name)
            page.fill("#id_password", self.password)
            page.click("button:has-text('Sign in')")
            page.wait_for_selector(".person")
            page.route(ANNOTATIONS, self._note)
            while not self.over.is_set():
                try:
                    self._answer(page)
                except BrowserError as exc:  # Label Studio is down, or went while the page was loading
                    self.met[type(exc).__name__] += 1
                    self.over.wait(2)
                    page.goto("about:blank")  # And in again by our page
            chromium.close()

    def _answer(self, page: Page) -> None:
        page.goto(self.stack.url + OPEN)
        if "task=" not in page.url:
            self.met["nothing waits"] += 1
            self.over.wait(2)
            return
        # As "Label All Tasks" does: what Label Studio serves then, it serves to nobody else. Who comes by its API is
        # unknown to us, so that our link may open what they have just answered
        page.goto(page.url.partition("?")[0] + "?labeling=1")
        submit = page.locator(f'[data-testid="{SUBMIT}"]')
        submit.wait_for(timeout=20_000)
        self.think()
        page.keyboard.press("Escape")  # The guidelines lie over the first task
        submit.click(timeout=5_000)
        page.wait_for_url(lambda url: "labeling=1" not in url, timeout=20_000)  # Whoever has answered is led on

    def _note(self, route: Route) -> None:
        """Note what Label Studio confirms, before the page leads on and forgets it."""
        if route.request.method != "POST":
            route.continue_()
            return
        try:
            answer = route.fetch()
        except BrowserError:
            self.met["no answer"] += 1
            route.abort()
            return
        if answer.status == httpx.codes.CREATED:
            made = answer.json()
            self.made[str(made["id"])] = False  # Label Studio's page sends no mark
            self.met["skips" if made["was_cancelled"] else "answers"] += 1
        else:
            self.met[f"refused {answer.status}"] += 1
        route.fulfill(response=answer)
