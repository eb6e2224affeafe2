"""Reviewers who take the next case, read it, accept it, and look at the queue: `python -m tests.load.reviewers`.

Locust makes every wait of this process cooperative as soon as it is imported, so this runs in one of its own.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any, ClassVar

import gevent
from locust import HttpUser, between, constant, task
from locust.env import Environment
from lxml import html

SIGNING_IN_SECONDS = 120
SHOWN = ("next case", "case page", "queue page", "decide")


class Reviewer(HttpUser):
    """A supervisor at work. Each signs in as somebody else."""

    abstract = True
    people: ClassVar[list[dict[str, str]]] = []
    held: ClassVar[dict[str, str]] = {}  # Who has which case open, as far as this process knows
    double_leases: ClassVar[list[str]] = []
    signed_in: ClassVar[list[str]] = []

    def on_start(self) -> None:
        """Sign in."""
        person = self.people.pop()
        self.name = person["username"]
        page = html.fromstring(self.client.get("/sign-in/", name="sign in").content)
        form = dict(page.forms[0].form_values()) | person
        self.client.post("/sign-in/", form, name="sign in", headers={"Referer": f"{self.host}/sign-in/"})
        self.signed_in.append(self.name)

    @task(4)
    def decide_the_next_case(self) -> None:
        """Take a case, read it for as long as one thinks, and accept what is filled in."""
        queue = html.fromstring(self.client.get("/queue/", name="queue page").content)
        token = {"csrfmiddlewaretoken": queue.xpath("string(//input[@name='csrfmiddlewaretoken'][1]/@value)")}
        with self.client.post(
            "/queue/next/", token, name="next case", allow_redirects=False, catch_response=True
        ) as answer:
            address = answer.headers.get("Location", "")
            if not address.startswith("/cases/"):
                answer.failure("no case was given")
                return
        if self.held.get(address, self.name) != self.name:  # Their own they are given again until it is decided
            self.double_leases.append(address)
        self.held[address] = self.name
        page = html.fromstring(self.client.get(address, name="case page").content)
        gevent.sleep(self.wait_time())
        form = page.get_element_by_id("answers").form_values()
        del self.held[address]  # Before it is sent: decided, it is nobody's
        with self.client.post(
            address, form, name="decide", allow_redirects=False, catch_response=True, headers={"Referer": self.host}
        ) as answer:
            if answer.status_code != 302:
                answer.failure(f"expected a redirect, found {answer.status_code}")

    @task(1)
    def look_at_the_queue(self) -> None:
        """List what waits, and what is urgent of it."""
        self.client.get("/queue/", name="queue page")
        self.client.get("/queue/?flag=urgent", name="queue page")


class Thinking(Reviewer):
    """Reviewers who think."""

    wait_time = between(5, 15)


class Tireless(Reviewer):
    """Reviewers who do not think at all."""

    wait_time = constant(0)


def run(host: str, kind: type[Reviewer], people: list[dict[str, str]], seconds: float) -> dict[str, Any]:
    """Let them work for so long, and return what `make load` prints of it."""
    kind.host, kind.people, Reviewer.double_leases, Reviewer.signed_in = host, [*people], [], []
    Reviewer.held.clear()
    environment = Environment(user_classes=[kind])
    runner = environment.create_local_runner()
    runner.start(len(people), spawn_rate=len(people))
    begun = time.monotonic()  # Signing in hashes passwords, which is slow on purpose and no part of the work
    while len(Reviewer.signed_in) < len(people) and time.monotonic() - begun < SIGNING_IN_SECONDS:
        gevent.sleep(0.1)
    environment.stats.reset_all()
    gevent.sleep(seconds)
    runner.quit()
    stats = environment.stats
    by_name = {name: stats.get(name, "POST" if name in ("next case", "decide") else "GET") for name in SHOWN}
    return {
        "requests": stats.total.num_requests,
        "requests_per_second": round(stats.total.num_requests / seconds, 2),
        "errors": stats.total.num_failures,
        "faults": sorted({str(error.error) for error in stats.errors.values()}),
        "double_leases": len(Reviewer.double_leases),
        "milliseconds": {
            name: {
                "n": found.num_requests,
                **{f"p{share}": found.get_response_time_percentile(share / 100) for share in (50, 95, 99)},
            }
            for name, found in by_name.items()
        },
    }


def main() -> None:
    """Print what both kinds of reviewers met; the people come as JSON on standard input."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", required=True)
    parser.add_argument("--thinking-seconds", type=float, required=True)
    parser.add_argument("--tireless-seconds", type=float, required=True)
    given = parser.parse_args()
    people = json.load(sys.stdin)
    found = {
        "thinking": run(given.host, Thinking, people, given.thinking_seconds),
        "tireless": run(given.host, Tireless, people, given.tireless_seconds),
    }
    # What is offered by people who wait 10 s on average before each task, and again before they decide
    found["thinking"]["offered_tasks_per_second"] = round(len(people) / (10 + 0.8 * 10), 2)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
