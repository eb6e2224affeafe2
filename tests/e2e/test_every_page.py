"""Every page, with every role: nothing that keeps somebody from using it, in light, in dark and on a phone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from django.test import Client
from playwright.sync_api import Browser, expect

from tests.conftest import helpline_prediction, predict, trained_version
from tests.e2e.conftest import write_calls
from tests.test_pages import PAGES, POSTED, REACH, address, furnish
from webapp.actions import escalations
from webapp.models import Case, Import, Schema
from webapp.roles import Role

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.django_db(transaction=True)]

SERIOUS = ("serious", "critical")
NO_PAGES = {"chart", "export-file", "alive", "ready", "metrics", "set-password", "open-label-studio"}
PARTS = {"alert-bar", "hold"}  # That a page asks for, and no pages themselves
MOST_URGENT, FAR_FROM_SURE = {"sure": 0.55, "urgent": 0.4}, {"sure": 0.4}


@pytest.fixture
def numbers(helpline: Schema, import_rows: Callable[..., Any], tmp_path: Path, person: Any) -> dict[str, int]:
    """Some calls of the demo in every state that a page shows, and one thing of each kind that has a page."""
    rows = [json.loads(line) for line in write_calls(tmp_path, 8, 8).read_text().splitlines()]
    import_rows(helpline, *rows)
    version = trained_version(helpline, 2)
    for row, sure in zip(rows, [MOST_URGENT, FAR_FROM_SURE, {}, MOST_URGENT] * 4, strict=True):
        predict(version, row["id"], helpline_prediction(**sure))
    case = Case.objects.filter(state="review").first()
    assert case is not None
    escalations.escalate(case, person(Role.SUPERVISOR, "halima"), note="she whispered")
    return furnish(helpline, case)


@pytest.fixture
def pages(live_server: Any, signed_in: Callable[..., Client], browser: Browser) -> Iterator[Callable[..., Any]]:
    """Open a page for a role; a message in the console fails the test."""
    contexts = []

    def opened(role: Role, scheme: str, *, width: int = 1440, language: str = "en") -> Any:
        client = signed_in(role, f"{role}-{scheme}-{language}")
        cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
        context = browser.new_context(
            viewport={"width": width, "height": 844},
            color_scheme=scheme,
            reduced_motion="reduce",
            locale=language,
        )
        context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": live_server.url}])
        contexts.append(context)
        return context.new_page()

    yield opened
    for context in contexts:
        context.close()


def walked(page: Any, role: Role, numbers: dict[str, int], url: str) -> Iterator[tuple[str, str]]:
    """Open every page that a role reaches, one after the other; yield its name and path."""
    for pattern in PAGES:
        name = str(pattern.name)
        roles = REACH[name]
        if name in POSTED | NO_PAGES | PARTS or name.startswith("backend") or roles is None or role not in roles:
            continue
        path = address(pattern, numbers.get(name, Import.objects.latest("pk").pk))
        answer = page.goto(f"{url}{path}", wait_until="networkidle")
        assert answer is not None
        if answer.status == 404 and name == "case":
            continue  # Not this annotator's
        assert answer.status == 200, path
        yield name, path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("role", list(Role))
def test_no_page_keeps_anybody_from_using_it(role, scheme, numbers, pages, live_server) -> None:
    page = pages(role, scheme)
    found, names = [], []
    for name, path in walked(page, role, numbers, live_server.url):
        names.append(name)
        for one in Axe().run(page).response["violations"]:
            if one["impact"] in SERIOUS:
                found += [f"{path} {one['id']}: {node['html'][:160]}" for node in one["nodes"]]
    assert found == []
    assert len(names) >= {Role.ANNOTATOR: 6, Role.SUPERVISOR: 15, Role.ADMIN: 25}[role]


TOO_WIDE = """() => {
  const wide = innerWidth, found = [];
  const at = (element) => element.outerHTML.slice(0, 120);
  if (document.documentElement.scrollWidth > wide) {
    const out = [...document.querySelectorAll("main *, header *")].filter(
      (one) => one.getBoundingClientRect().right > wide + 1 && !one.closest(".scroll, .chips, .skip"));
    found.push("the page scrolls sideways: " + out.slice(0, 3).map(at).join(" | "));
  }
  for (const one of document.querySelectorAll(".rail a, .top a, .top button, .actions > *")) {
    const { left, right, bottom, width } = one.getBoundingClientRect();
    const isBelow = one.closest(".actions") && bottom > innerHeight;
    if (width && (left < 0 || right > wide || isBelow)) found.push("cut: " + at(one));
  }
  for (const box of document.querySelectorAll(".scroll")) {
    const hint = getComputedStyle(box, "::before").content;
    const isCut = box.checkVisibility() && box.scrollWidth > box.clientWidth + 1;
    if (isCut && !hint.includes("→")) found.push("no hint: " + at(box));
  }
  for (const table of document.querySelectorAll("main table")) {
    if (table.getBoundingClientRect().right > wide && !table.closest(".scroll")) found.push("in no box: " + at(table));
  }
  return found;
}"""


@pytest.mark.parametrize("language", ["en", "sw"])
@pytest.mark.parametrize("role", list(Role))
def test_every_page_fits_on_a_phone(role, language, numbers, pages, live_server) -> None:
    page = pages(role, "light", width=390, language=language)
    found, names = [], []
    for name, path in walked(page, role, numbers, live_server.url):
        names.append(name)
        found += [f"{path} {one}" for one in page.evaluate(TOO_WIDE)]
    assert found == []
    assert len(names) >= {Role.ANNOTATOR: 6, Role.SUPERVISOR: 15, Role.ADMIN: 25}[role]


def test_a_notice_lies_over_the_page_and_n_takes_the_next_case_from_home(numbers, pages, live_server) -> None:
    page = pages(Role.SUPERVISOR, "light")
    page.goto(f"{live_server.url}/queue/")
    before = page.locator("h1").bounding_box()
    page.fill("#words", "!!!")
    page.press("#words", "Enter")
    fault = page.locator(".notices .error")
    assert "There is no word to search for" in fault.inner_text()
    assert fault.bounding_box()["y"] < page.locator("h1").bounding_box()["y"], "it covers nothing that is to be mended"
    fault.get_by_role("button", name="Close").click()
    assert fault.count() == 0
    assert page.locator("h1").bounding_box() == before
    page.goto(f"{live_server.url}/queue/?flag=urgent")
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.fill("[name=name]", "Mine")
    page.press("[name=name]", "Enter")
    expect(page.locator(".toasts li")).to_contain_text("The view is kept")
    assert page.locator("h1").bounding_box() == before
    page.goto(f"{live_server.url}/")
    page.keyboard.press("n")
    page.wait_for_url("**/cases/*/")
