"""The queue under somebody's fingers, in a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from ml.policy import FlagKind
from tests.conftest import case_named, helpline_prediction, predict, trained_version
from webapp.actions import flags, leases, savedviews
from webapp.models import Case, Schema
from webapp.queries.filters import Filters
from webapp.roles import Role

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True)]

SIZES = {"desk": (1440, 900), "phone": (390, 844)}


@pytest.fixture
def desk(
    live_server: Any,
    helpline: Schema,
    import_rows: Callable[..., Any],
    person: Callable[..., Any],
    signed_in: Callable[..., Client],
    browser: Browser,
) -> Iterator[Callable[[str], Page]]:
    """Open the queue of three cases, of which another person holds the last, on a screen of some size."""
    import_rows(helpline, *({"id": f"1685808460.{n}", "text": f"Caller: I am hungry {n}."} for n in range(3)))
    version = trained_version(helpline)
    for n, urgent in enumerate((0.9, 0.5, 0.2)):
        predict(version, f"1685808460.{n}", helpline_prediction(sure=0.62, urgent=urgent))
    Case.objects.update(received_at=timezone.now() - timedelta(hours=9))
    flags.raise_flag(case_named("1685808460.2"), FlagKind.ESCALATION)
    leases.take(case_named("1685808460.2"), person(Role.SUPERVISOR, "Amina"))
    client = signed_in(Role.SUPERVISOR, "halima")
    savedviews.save(client.get("/queue/").wsgi_request.user, "Escalated", Filters(flag="escalation"))  # type: ignore[arg-type]
    cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
    pages = []

    def show(size: str) -> Page:
        width, height = SIZES[size]
        context = browser.new_context(viewport={"width": width, "height": height})
        context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": live_server.url}])
        page = context.new_page()
        page.on("console", lambda said: pytest.fail(said.text) if said.type == "error" else None)
        page.goto(f"{live_server.url}/queue/")
        pages.append(page)
        return page

    yield show
    for page in pages:
        page.context.close()


def test_the_queue_is_worked_with_keys_alone(desk, screenshots: Path) -> None:
    page = desk("desk")
    page.screenshot(path=screenshots / "queue-desk.png", full_page=True)
    rows = page.locator(".queue a")
    for key, focused in (("j", 0), ("j", 1), ("j", 2), ("j", 2), ("k", 1)):
        page.keyboard.press(key)
        expect(rows.nth(focused)).to_be_focused()
    page.keyboard.press("/")
    page.keyboard.type("hungry njk")
    expect(page.locator("#words")).to_have_value("hungry njk")
    page.keyboard.press("Enter")
    expect(page.locator(".empty")).to_contain_text("No case here fits.")
    assert "hungry" not in page.url
    page.go_back()
    page.locator("summary", has_text="Filter").focus()
    page.keyboard.press("Enter")
    page.screenshot(path=screenshots / "queue-filter-desk.png", full_page=True)
    page.select_option("select[name=flag]", "escalation")
    page.locator("select[name=flag]").press("Tab")
    page.locator("button", has_text="Show these").press("Enter")
    expect(page.locator(".queue li")).to_have_count(1)
    expect(page.locator(".held")).to_have_text("with Amina, 15 min left")
    page.screenshot(path=screenshots / "queue-view-desk.png", full_page=True)
    page.goto(page.url.split("?")[0])
    page.keyboard.press("n")
    expect(page.locator("h1")).to_have_text("1685808460.0")
    expect(page.locator("#hold")).to_have_text("with you, 15 min left")
    page.screenshot(path=screenshots / "case-desk.png")


def test_the_queue_fits_a_phone(desk, screenshots: Path) -> None:
    page = desk("phone")
    page.screenshot(path=screenshots / "queue-phone.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES["phone"][0]
    page.locator("summary", has_text="Filter").click()
    page.screenshot(path=screenshots / "queue-filter-phone.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES["phone"][0]


def test_work_on_a_case_keeps_it(desk) -> None:
    page = desk("desk")
    page.keyboard.press("n")
    expect(page.locator("#hold")).to_have_text("with you, 15 min left")
    Case.objects.filter(external_id="1685808460.0").update(held_until=timezone.now() + timedelta(minutes=3))
    with page.expect_response(lambda answer: "/hold/?" in answer.url and answer.request.method == "POST"):
        page.keyboard.press("Tab")
    assert case_named("1685808460.0").minutes_left == 15
    expect(page.locator("#hold")).to_have_text("with you, 15 min left")
