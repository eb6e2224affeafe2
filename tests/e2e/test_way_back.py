"""The way from Label Studio back to Caseloop, in a real browser against the real two."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.conf import settings
from playwright.sync_api import Browser, Page, expect

from ml.types import HeadPrediction
from tests.conftest import helpline_prediction
from tests.label_studio.conftest import embedded, flagged, helpline_at, project_number, task_of  # noqa: F401
from webapp.actions import label_studio as sync
from webapp.models import Annotation, Case
from webapp.roles import Role

pytestmark = [pytest.mark.e2e, pytest.mark.label_studio, pytest.mark.django_db(transaction=True)]

LINK = "text=Back to Caseloop: next case"
NEXT = "/label/helpline/open/"


@pytest.fixture
def cases(flagged: Callable[..., Case], label_studio: Any) -> Iterator[list[Case]]:  # noqa: F811
    """Two cases in Label Studio, the one that matters most first; no intervention is predicted for either."""
    prediction = [{**helpline_prediction(sure=s), "intervention": HeadPrediction([], 0.6)} for s in (0.3, 0.5)]
    made = [flagged(name, prediction=said) for name, said in zip("12", prediction, strict=True)]
    sync.deliver()
    yield made
    headers = {"Authorization": f"Token {label_studio.api_key}"}
    httpx.delete(f"{label_studio.url}/api/projects/{project_number()}/", headers=headers).raise_for_status()


@pytest.fixture
def page(
    cases: list[Case],
    embedded: None,  # noqa: F811
    live_server: Any,
    signed_in: Callable[..., Any],
    browser: Browser,
) -> Iterator[Page]:
    """The page of an annotator who has opened their first case in Label Studio."""
    cookie = signed_in(Role.ANNOTATOR, "wambui").cookies[settings.SESSION_COOKIE_NAME].value
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": live_server.url}])
    page = context.new_page()
    refused: list[str] = []
    page.on("console", lambda said: refused.append(said.text) if "Content Security Policy" in said.text else None)
    page.goto(f"{live_server.url}{NEXT}")
    page.wait_for_url(_task(cases[0]))
    yield page
    context.close()
    assert [said for said in refused if "/bridge/" in said] == []


def test_what_is_submitted_leads_to_the_next_case_and_after_the_last_home(
    page: Page, cases: list[Case], live_server: Any, screenshots: Path
) -> None:
    for case, place in zip(cases, (_task(cases[1]), f"{live_server.url}/label/"), strict=True):
        page.wait_for_selector(".lsf-richtext__line", timeout=60_000)
        expect(page.locator(LINK)).to_be_visible()
        page.screenshot(path=screenshots / f"way-back-{case.external_id}.png")
        page.locator('[data-testid="bottombar-submit-button"]').click()
        page.wait_for_url(place, timeout=30_000)
    expect(page.locator("main")).to_contain_text("No case waits for you at the moment.")
    sync.poll_all()
    assert [one.answers["intervention"] for one in Annotation.objects.all()] == [[], []]


def test_the_link_leads_to_the_case_that_is_open(page: Page, cases: list[Case], live_server: Any) -> None:
    with page.expect_request(f"{live_server.url}{NEXT}"):
        page.click(LINK)
    page.wait_for_url(_task(cases[0]))


def test_the_settings_of_the_project_lead_home(page: Page, live_server: Any) -> None:
    place = re.sub(r"/data.*", "/settings", page.url)
    page.wait_for_selector(".lsf-richtext__line", timeout=60_000)
    page.locator('a[href$="/settings"]').first.click()
    page.wait_for_url(f"{live_server.url}/label/")
    for address in (place, f"{place}/labeling"):
        page.goto(address)
        assert page.url == f"{live_server.url}/label/"


def _task(case: Case) -> re.Pattern[str]:
    return re.compile(rf"/projects/{project_number()}/data\?(.*&)?task={task_of(case)}(&|$)")
