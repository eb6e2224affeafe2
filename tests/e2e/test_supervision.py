"""Settling a disagreement with keys, and how the pages of supervisors look, in a real browser."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from ml.policy import FlagKind
from tests.conftest import annotator_named, case_named, helpline_prediction, predict, trained_version
from webapp.actions import flags, snapshots
from webapp.models import Annotation, Case, Evaluation, Origin, Schema
from webapp.roles import Role

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True)]

SIZES = {"desk": (1440, 900), "phone": (390, 844)}
TEXT = "Agent: Hello 👋 there?\nCaller (in tears): I am Amina Wanjiku. My baby is hungry; it rains in.\nAgent: Yes?"
SERIOUS = ("serious", "critical")


@pytest.fixture
def look(
    live_server: Any, signed_in: Callable[..., Client], browser: Browser, screenshots: Path
) -> Iterator[Callable[..., Page]]:
    """Open a page on a screen of some size; a message in the console or a serious finding of axe fails the test."""
    cookies = {role: signed_in(role, f"{role}-one").cookies[settings.SESSION_COOKIE_NAME].value for role in Role}
    contexts = []

    def show(path: str, role: Role = Role.SUPERVISOR, size: str = "desk", scheme: str = "light") -> Page:
        width, height = SIZES[size]
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookies[role], "url": live_server.url}])
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: pytest.fail(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: pytest.fail(str(error)))
        page.goto(f"{live_server.url}{path}", wait_until="networkidle")
        name = path.partition("?")[0].strip("/").replace("/", "-") or "home"
        page.screenshot(path=screenshots / f"{name}-{role}-{size}-{scheme}.png", full_page=True)
        return page

    show.folder = screenshots  # type: ignore[attr-defined]
    yield show
    for context in contexts:
        context.close()


def findings(page: Page) -> list[str]:
    """What axe finds that keeps somebody from using a page."""
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {node['html'][:200]}" for one in found if one["impact"] in SERIOUS for node in one["nodes"]]


@pytest.fixture
def differing(helpline: Schema, import_rows: Callable[..., Any]) -> Case:
    """A case that two annotators answered, each in their own way."""
    import_rows(helpline, {"id": "1", "text": TEXT})
    start = TEXT.index("Amina")
    case = predict(trained_version(helpline), "1", helpline_prediction(sure=0.62))
    Case.objects.update(state="review")
    answers = {
        "Wanjiru": {
            "main_category": "VANE",
            "sub_category": "Child Neglect",
            "priority": "2",
            "intervention": ["Counselling"],
            "entities": [{"start": start, "end": start + 13, "label": "NAME"}],
            "call_quality": {"opening": {"phrase": True}, "hold": {"explains": None}},
        },
        "Otieno": {
            "main_category": "GBV",
            "priority": "1",
            "intervention": [],
            "entities": [{"start": start, "end": start + 5, "label": "VICTIM"}],
            "call_quality": {"opening": {"phrase": False}, "hold": {"explains": None}},
        },
    }
    for name, said in answers.items():
        Annotation.objects.create(
            case=case,
            annotator=annotator_named(name),
            schema_version=helpline.versions.get(),
            origin=Origin.LABEL_STUDIO,
            answers=said,
        )
    return case_named("1")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_disagreement_and_the_agreement_page_look_right(look, differing, size, scheme) -> None:
    for path in (f"/cases/{differing.pk}/", "/agreement/?schema=helpline"):
        assert findings(look(path, size=size, scheme=scheme)) == []


def test_one_key_fills_in_the_answer_of_an_annotator_and_saves_nothing(look, differing) -> None:
    page = look(f"/cases/{differing.pk}/")
    page.keyboard.press("p")
    page.keyboard.press("x")
    expect(page.locator('input[name="priority"][value="2"]')).to_be_checked()
    page.keyboard.press("x")
    expect(page.locator('input[name="priority"][value="1"]')).to_be_checked()
    expect(page.locator("#said")).to_contain_text("the answer of Otieno is filled in; nothing is saved yet")
    page.keyboard.press("e")
    page.keyboard.press("x")
    expect(page.locator(".transcript mark")).to_have_text("Amina WanjikuName")
    page.keyboard.press("i")
    page.keyboard.press("x")
    page.keyboard.press("c")
    page.locator("#head-call_quality").get_by_role("button", name="Take the answer of Otieno").click()
    expect(page.locator('input[name="call_quality.opening.phrase"][value="no"]')).to_be_checked()
    assert not Annotation.objects.filter(origin=Origin.REVIEW).exists()
    page.keyboard.press("a")
    page.wait_for_url("**/queue/")
    said = Annotation.objects.get(origin=Origin.REVIEW).answers
    start = TEXT.index("Amina")
    assert (said["priority"], said["intervention"]) == ("1", ["Counselling"])
    assert said["entities"] == [{"start": start, "end": start + 13, "label": "NAME"}]
    assert said["call_quality"] == {"opening": {"phrase": False}, "hold": {"explains": None}}


def test_the_switch_hides_names_with_the_keyboard(look, differing) -> None:
    page = look(f"/cases/{differing.pk}/")
    page.get_by_role("switch").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("switch")).to_have_attribute("aria-checked", "true")
    expect(page.locator("#head-priority")).to_contain_text("Annotator 1")
    expect(page.locator("form#answers")).not_to_contain_text("Wanjiru")
    assert page.locator("meter").count() == 0


@pytest.fixture
def busy(helpline: Schema, import_rows: Callable[..., Any], differing: Case) -> Schema:
    """A month of a small helpline, with five versions and four people."""
    draw = random.Random(0)
    import_rows(helpline, *({"id": f"call-{number}", "text": f"Caller: {number}"} for number in range(120)))
    cases = list(Case.objects.filter(external_id__startswith="call-"))
    snapshot = snapshots.take(helpline.versions.get())
    versions = [trained_version(helpline, number) for number in range(2, 7)]
    for at, version in enumerate(versions):
        measures = {"main_category": "accuracy", "sub_category": "accuracy", "priority": "accuracy"}
        measures |= {"intervention": "micro_f1", "entities": "micro_f1"}
        heads = {
            head: {measure: 0.3 + 0.1 * place + 0.06 * at, "n": 80}
            for place, (head, measure) in enumerate(measures.items())
        }
        Evaluation.objects.create(version=version, snapshot=snapshot, heads=heads)
    for case in cases:
        sure = draw.triangular(0.2, 1.0, 0.9)
        predict(versions[-1], case.external_id, helpline_prediction(sure=sure, urgent=draw.random() / 3))
        came = timezone.now() - timedelta(days=draw.uniform(0, 28))
        flags.raise_flag(case, FlagKind.ESCALATION)
        case.flags.update(raised_at=came, resolved_at=came + timedelta(days=draw.uniform(0, 4)))
        for name in draw.sample(["Wanjiru", "Otieno", "Achieng", "Halima"], 2):
            Annotation.objects.create(
                case=case,
                annotator=annotator_named(name),
                schema_version=helpline.versions.get(),
                origin=Origin.REVIEW if name == "Halima" else Origin.LABEL_STUDIO,
                answers={
                    "main_category": draw.choice(["VANE", "VANE", "GBV"]),
                    "priority": draw.choice("123"),
                    "intervention": draw.choice([["Counselling"], ["Counselling", "Referral"]]),
                },
            )
    return helpline


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_home_and_figures_look_right(look, busy, size, scheme) -> None:
    for role in (Role.ADMIN, Role.SUPERVISOR):
        page = look("/", role, size, scheme)
        expect(page.locator("#now")).to_contain_text("Database", timeout=10_000)
        page.locator("#figures-title").scroll_into_view_if_needed()
        page.mouse.wheel(0, 4000)
        expect(page.locator("#figure-queue")).to_be_visible(timeout=10_000)
        assert findings(page) == []
    assert findings(look("/label/", Role.ANNOTATOR, size, scheme)) == []
    assert findings(look("/agreement/?schema=helpline", Role.ADMIN, size, scheme)) == []
    page = look("/figures/?schema=helpline", Role.ADMIN, size, scheme)
    for image in page.locator("picture img").all():
        image.scroll_into_view_if_needed()
        expect(image).to_have_js_property("complete", value=True)
        assert image.evaluate("one => one.naturalWidth") > 0
        chosen = image.evaluate("one => one.currentSrc")
        assert ("dark" in chosen, "narrow" in chosen) == (scheme == "dark", size == "phone")
    page.screenshot(path=look.folder / f"figures-drawn-{size}-{scheme}.png", full_page=True)
    page.locator("summary").first.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("table").first).to_be_visible()
    assert findings(page) == []
