"""One case under somebody's fingers, in a real browser."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from ml.types import HeadPrediction
from tests.conftest import case_named, helpline_prediction, predict, trained_version
from webapp.demo import generate
from webapp.models import Annotation, Draft, Prediction, Review, Schema
from webapp.roles import Role

pytestmark = [pytest.mark.e2e, pytest.mark.django_db(transaction=True)]

QUEUE = re.compile(r"/queue/$")
SIZES = {"desk": (1440, 900), "phone": (390, 844)}
TEXT = "Agent: Hello 👋 there?\nCaller (in tears): I am Amina Wanjiku. My baby is hungry; it rains in.\nAgent: Yes?"


@pytest.fixture
def open_case(
    live_server: Any,
    helpline: Schema,
    import_rows: Callable[..., Any],
    signed_in: Callable[..., Client],
    browser: Browser,
) -> Iterator[Callable[..., Page]]:
    """Open the page of a case with a text, as the only supervisor, on a screen of some size."""
    client = signed_in(Role.SUPERVISOR, "halima")
    cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
    pages = []

    def show(size: str = "desk", text: str = TEXT, name: str = "1", **context: Any) -> Page:
        import_rows(helpline, {"id": name, "text": text})
        start, end = re.search("(?<=[a-z] )[A-Z][a-z]+", text).span()
        quality = {"opening": {"phrase": True}, "hold": {"explains": None, "thanks": None}}
        prediction = helpline_prediction(sure=0.62, urgent=0.31) | {
            "entities": HeadPrediction([{"start": start, "end": end, "label": "NAME", "confidence": 0.91}], None),
            "call_quality": HeadPrediction(quality, 0.41, {"opening.phrase": 0.93}),
        }
        case = predict(trained_version(helpline), name, prediction)
        weights = {
            "hungry": 0.5,
            "got lost": 0.5,
            "cannot find him": 0.4,
            "no trace": 0.3,
            "searching": 0.2,
            "all night": 0.1,
        }
        found = [(text.find(words), words, weight) for words, weight in weights.items()]
        looks = [[start, start + len(words), weight] for start, words, weight in found if start >= 0]
        Prediction.objects.update(looks={"main_category": looks})
        width, height = SIZES[size]
        opened = browser.new_context(viewport={"width": width, "height": height}, **context)
        opened.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": live_server.url}])
        page = opened.new_page()
        page.on("console", lambda said: pytest.fail(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: pytest.fail(str(error)))
        page.goto(f"{live_server.url}/cases/{case.pk}/")
        pages.append(page)
        return page

    yield show
    for page in pages:
        page.context.close()


def demo_call() -> str:
    """The longest call of the demo."""
    return max((call.text for call in generate.helpline()), key=len)


def test_a_case_is_soon_free_once_its_page_is_closed_and_stays_held_when_it_is_loaded_again(open_case) -> None:
    def seconds_left() -> float:
        return (case_named("1").held_until - timezone.now()).total_seconds()

    page = open_case()
    for _ in range(5):
        page.reload()
    page.wait_for_timeout(500)  # For what the pages before it may have sent late
    assert seconds_left() > 600
    page.goto("about:blank")
    deadline = time.monotonic() + 5
    while seconds_left() > 10 and time.monotonic() < deadline:  # No event tells of what a page sends at its end
        page.wait_for_timeout(100)
    assert seconds_left() <= 10


def test_a_case_stays_held_when_its_page_is_closed_while_something_is_typed(open_case) -> None:
    page = open_case()
    page.keyboard.press("n")
    page.keyboard.type("at noon")
    page.goto("about:blank")
    page.wait_for_timeout(500)
    assert (case_named("1").held_until - timezone.now()).total_seconds() > 600


def test_a_case_that_is_released_as_it_was_leaves_no_draft(open_case) -> None:
    page = open_case()
    address = page.url
    page.keyboard.press("r")
    page.wait_for_url(QUEUE)
    assert not Draft.objects.exists()
    page.goto(address)
    page.keyboard.press("p")
    page.keyboard.press("3")
    page.keyboard.press("r")
    page.wait_for_url(QUEUE)
    assert Draft.objects.get().values["priority"] == ["3"]


def test_a_case_is_corrected_with_the_keyboard_alone(open_case, screenshots: Path) -> None:
    page = open_case()
    expect(page.locator("#head-main_category")).to_have_class("head here")
    expect(page.locator(".look-3")).to_have_text("hungry")
    page.keyboard.press("w")
    expect(page.locator(".look-3")).to_have_count(0)
    page.keyboard.press("s")
    page.keyboard.press("2")
    expect(page.locator("#head-sub_category .changed")).to_be_visible()
    expect(page.locator("#changes")).to_have_text("● 1 changed")
    page.keyboard.press("0")
    page.keyboard.type("sexual v")
    page.keyboard.press("Enter")
    expect(page.locator("input[value='GBV']")).to_be_checked()
    page.keyboard.press("p")
    page.keyboard.press("1")
    page.keyboard.press("i")
    page.keyboard.press("1")
    page.keyboard.press("c")
    for key in ("2", "3"):
        page.keyboard.press(key)
    page.screenshot(path=screenshots / "case-changed-desk.png")
    page.keyboard.press("n")
    page.keyboard.type("called back")
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    expect(page).to_have_url(QUEUE)
    review = Annotation.objects.get()
    assert review.answers["main_category"] == "GBV"
    assert (review.answers["priority"], review.answers["intervention"], review.note) == (
        "1",
        ["Counselling"],
        "called back",
    )
    assert review.answers["call_quality"]["opening"] == {"phrase": False}
    assert review.answers["call_quality"]["listening"] == {"uninterrupted": None}


@pytest.mark.parametrize("key", ["a", "Enter"])
def test_a_key_that_is_held_decides_one_case_alone(open_case, import_rows, key: str) -> None:
    page = open_case()
    first = case_named("1")
    import_rows(first.schema, {"id": "2", "text": TEXT})
    predict(first.current_prediction.version, "2", helpline_prediction(sure=0.62, urgent=0.2))
    page.keyboard.down(key)
    expect(page.locator("h1")).to_have_text("2")
    for _ in range(3):
        page.keyboard.down(key)  # Again while it is down: the browser is told that it repeats
    page.keyboard.up(key)
    page.keyboard.press("p")
    expect(page.locator("#head-priority")).to_have_class("head here")
    assert [case_named(name).state for name in "12"] == ["decided", "review"]


def test_a_form_that_is_under_way_is_not_sent_again(open_case) -> None:
    page = open_case()
    key = """document.dispatchEvent(new KeyboardEvent("keydown", { key: "a", bubbles: true }))"""
    assert page.evaluate(f"() => {{ {key}; return document.getElementById('save').disabled; }}")
    expect(page).to_have_url(QUEUE)
    page.go_back()
    expect(page.locator("#save")).to_be_enabled()


def test_entities_are_marked_with_arrow_keys_and_with_the_mouse(open_case, screenshots: Path) -> None:
    page = open_case()
    page.keyboard.press("e")
    for key in ("ArrowRight", "ArrowDown", *["ArrowRight"] * 5, "Shift+ArrowRight"):
        page.keyboard.press(key)
    assert page.evaluate("getSelection().toString()") == "baby is"
    page.keyboard.press("3")
    expect(page.locator("mark", has_text="baby is")).to_have_text("baby isVictim")
    turn = page.locator(".turn p").nth(1)
    turn.evaluate(
        """turn => {
            const text = [...turn.childNodes].find(node => node.data?.includes("rains")) ?? turn.lastChild;
            const place = text.data.indexOf("rains") + 2;
            getSelection().setBaseAndExtent(text, place, text, place + 1);
        }"""
    )
    page.locator("button.label", has_text="Location").click()
    page.locator("mark", has_text="Amina").scroll_into_view_if_needed()
    page.locator("label", has_text="Amina").locator("input").uncheck()
    expect(page.locator("mark.off")).to_have_text("AminaName")
    page.screenshot(path=screenshots / "case-entities-desk.png")
    page.keyboard.press("a")
    expect(page).to_have_url(QUEUE)
    found = [
        (TEXT[span["start"] : span["end"]], span["label"]) for span in Annotation.objects.get().answers["entities"]
    ]
    assert found == [("baby is", "VICTIM"), ("rains", "LOCATION")]


def test_a_label_that_stands_among_the_likeliest_is_found_by_its_name_too(open_case) -> None:
    page = open_case()
    page.keyboard.press("s")
    likely = page.locator("#head-sub_category > .option").nth(2)
    page.keyboard.press("0")
    page.keyboard.type(likely.locator("span").first.inner_text()[:-1].lower())
    expect(likely).to_have_class("option found")
    page.keyboard.press("Enter")
    expect(likely.locator("input")).to_be_checked()
    expect(likely).to_have_class("option")


def test_escalating_is_one_key_and_leaves_everything_as_it_was(open_case, screenshots: Path) -> None:
    page = open_case(text=demo_call())
    page.keyboard.press("p")
    page.keyboard.press("1")
    page.keyboard.press("!")
    expect(page.locator("#alerts")).to_contain_text("Escalated 1, by halima at")
    expect(page.locator("#said")).to_have_text("▲ Escalated")
    expect(page.locator("#head-priority input[value='1']")).to_be_checked()
    page.keyboard.press("b")
    page.screenshot(path=screenshots / "case-escalated-desk.png")
    page.keyboard.press("Escape")
    page.keyboard.press("a")
    expect(page).to_have_url(QUEUE)
    expect(page.locator("#alerts")).to_contain_text("waits for somebody else")
    page.goto(page.url.replace("/queue/", "/alerts/"))
    page.screenshot(path=screenshots / "alerts-desk.png")


def test_a_case_is_sent_back_and_a_second_opinion_asked_with_keys(open_case) -> None:
    page = open_case()
    page.keyboard.press("n")
    page.keyboard.type("listen to the end")
    page.keyboard.press("Escape")
    page.keyboard.press("b")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page).to_have_url(QUEUE)
    expect(page.locator(".toasts")).to_contain_text("Case 1 is with annotators again.")
    page.go_back()
    page.keyboard.press("o")
    expect(page).to_have_url(QUEUE)
    assert [review.act for review in Review.objects.order_by("pk")] == ["send_back", "second_opinion"]


def test_what_is_typed_is_kept_and_what_was_sent_is_taken_back(open_case, screenshots: Path) -> None:
    page = open_case()
    page.keyboard.press("p")
    page.keyboard.press("1")
    expect(page.locator("#draft")).to_contain_text("draft saved")
    page.reload()
    expect(page.locator("#head-priority input[value='1']")).to_be_checked()
    page.screenshot(path=screenshots / "case-draft-desk.png")
    page.keyboard.press("a")
    expect(page).to_have_url(QUEUE)
    page.screenshot(path=screenshots / "queue-toast-desk.png")
    page.keyboard.press("u")
    expect(page.locator(".toasts")).to_contain_text("Taken back")
    expect(page.locator("#head-priority input[value='1']")).to_be_checked()
    assert case_named("1").state == "review"


@pytest.mark.parametrize("size", SIZES)
def test_the_keyboard_map_opens_and_closes(open_case, screenshots: Path, size: str) -> None:
    page = open_case(size)
    page.keyboard.press("?")
    expect(page.locator("dialog")).to_be_visible()
    page.screenshot(path=screenshots / f"keys-{size}.png")
    page.keyboard.press("a")
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_be_hidden()
    assert case_named("1").state == "review"


def test_a_long_call_fits_the_screen_and_the_bar_of_actions_does_not_move(open_case, screenshots: Path) -> None:
    page = open_case(text=demo_call())
    bar = page.locator(".actions").bounding_box()
    assert bar is not None
    assert bar["y"] + bar["height"] <= SIZES["desk"][1]
    page.screenshot(path=screenshots / "case-desk.png")
    page.keyboard.press("c")
    page.screenshot(path=screenshots / "case-quality-desk.png")
    assert page.locator(".actions").bounding_box() == bar
    assert page.evaluate("document.documentElement.scrollHeight") <= SIZES["desk"][1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_case_fits_a_phone(open_case, screenshots: Path, scheme: str) -> None:
    page = open_case("phone", text=demo_call(), color_scheme=scheme)
    page.screenshot(path=screenshots / f"case-phone-{scheme}.png", full_page=True)
    page.locator("#head-entities").scroll_into_view_if_needed()
    page.keyboard.press("b")
    page.screenshot(path=screenshots / f"case-phone-back-{scheme}.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES["phone"][0]


def test_a_case_is_read_and_decided_without_javascript(open_case) -> None:
    page = open_case(java_script_enabled=False)
    page.get_by_role("link", name="words it looked at").first.click()
    expect(page.locator(".look-3")).to_have_text("hungry")
    page.locator("input[value='GBV']").check()
    page.locator("#head-sub_category summary").click()
    page.locator("input[value='Sexual Violence']").check()
    page.locator("summary", has_text="Or type the words").click()
    page.fill("input[name='entities.words']", "baby")
    page.select_option("select[name='entities.label']", "VICTIM")
    page.locator("#save").click()
    expect(page).to_have_url(QUEUE)
    answers = Annotation.objects.get().answers
    assert (answers["sub_category"], len(answers["entities"])) == ("Sexual Violence", 2)
    assert case_named("1").state == "decided"
