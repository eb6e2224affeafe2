"""The home page of each role."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.utils import timezone

from tests.conftest import case_named
from webapp.actions import escalations, leases, reviews
from webapp.glossary import TERMS
from webapp.models import CaseState, Import, Run
from webapp.queries import loop, today
from webapp.roles import Role

ANSWERS = {"main_category": "VANE", "sub_category": "Child Neglect", "priority": "2"}


@pytest.fixture
def halima(person) -> User:
    return person(Role.SUPERVISOR, "halima")


def test_what_waits_is_what_this_person_has_begun(case, halima, person) -> None:
    case.state = CaseState.REVIEW
    case.save()
    leases.take(case, halima)
    assert [one.pk for one in today.waiting(halima).held] == [case.pk]
    assert today.waiting(person(Role.SUPERVISOR, "juma")).held == ()
    leases.release(case, halima)
    assert today.waiting(halima).held == ()


def test_what_was_done_since_midnight_is_counted(case, halima, monkeypatch) -> None:
    reviews.decide(case, halima, answers=ANSWERS, revision=case_named("1").revision)
    escalations.escalate(case_named("1"), halima)
    assert today.done(halima) == [("accepted", 1), ("escalated", 1)]
    tomorrow = timezone.localtime() + timedelta(days=1)
    monkeypatch.setattr(timezone, "localtime", lambda: tomorrow)
    assert today.done(halima) == []


@pytest.mark.parametrize(("hour", "minute", "done"), [(20, 59, []), (21, 0, [("accepted", 1)])])
def test_today_begins_at_midnight_by_the_one_clock(case, halima, monkeypatch, hour, minute, done) -> None:
    """Nairobi is three hours ahead of UTC."""
    monkeypatch.setattr(timezone, "now", lambda: datetime(2026, 3, 1, hour, minute, tzinfo=UTC))
    reviews.decide(case, halima, answers=ANSWERS, revision=case_named("1").revision)
    monkeypatch.setattr(timezone, "now", lambda: datetime(2026, 3, 1, 21, 30, tzinfo=UTC))
    assert today.done(halima) == done


def test_every_page_says_of_which_zone_its_times_are_and_leads_to_the_glossary(case, signed_in) -> None:
    desk = signed_in(Role.SUPERVISOR)
    for path in ("/", "/queue/", f"/cases/{case.pk}/", "/agreement/"):
        page = desk.get(path).content.decode()
        assert "Times are those of Africa/Nairobi (EAT)." in page
        assert 'href="/glossary/"' in page
    page = desk.get("/glossary/").content.decode()
    for anchor in re.findall(r'/glossary/#([\w-]+)"', desk.get("/queue/").content.decode()):
        assert f'id="{anchor}"' in page


def test_every_word_that_a_page_links_to_is_explained() -> None:
    pages = "".join(path.read_text() for path in (settings.BASE_DIR / "webapp" / "templates").glob("*.html"))
    linked = set(re.findall(r'{% term "([\w-]+)" %}', pages))
    assert linked == set(TERMS)


def test_an_act_that_was_undone_is_not_counted(case, halima) -> None:
    reviews.decide(case, halima, answers=ANSWERS, revision=case_named("1").revision)
    reviews.undo(halima)
    assert today.done(halima) == []


def test_a_supervisor_and_an_admin_each_see_their_own_home(case, signed_in, halima) -> None:
    escalations.escalate(case_named("1"), halima)
    Run.objects.create(schema=case.schema, schema_version=case.schema.versions.get())
    shown = {role: signed_in(role).get("/").content.decode() for role in (Role.SUPERVISOR, Role.ADMIN)}
    for page in shown.values():
        assert "1 alert waits for somebody" in page
        assert 'hx-get="/now/"' in page
        assert 'hx-get="/figures/"' in page
    for words in ("Newest trainings", "Newest imports", "Urgent from a probability of 0.15", "a test needs it"):
        assert (words in shown[Role.SUPERVISOR], words in shown[Role.ADMIN]) == (False, True), words


def test_an_import_that_nobody_confirmed_waits_for_who_uploaded_it(helpline, signed_in) -> None:
    desk = signed_in(Role.ADMIN)
    assert "you have nothing begun" in desk.get("/").content.decode()
    Import.objects.create(
        schema=helpline, name="calls.csv", source="line", digest="0", created_by=User.objects.get(username="admin")
    )
    page = desk.get("/").content.decode()
    assert "1 import waits for you to confirm it" in page
    assert "calls.csv" in page


def test_the_loop_is_fetched_again_with_the_health_of_the_parts(case, signed_in, monkeypatch) -> None:
    monkeypatch.setattr(loop, "health", lambda: {"engines": {"database": "", "broker": "gone"}, "workers": []})
    part = signed_in(Role.SUPERVISOR).get("/now/", headers={"HX-Request": "true"}).content.decode()
    for words in ("✓ Database", "▲ Broker gone", "▲ No worker answers", 'hx-trigger="every 30s"', "with annotators"):
        assert words in part
    assert "<html" not in part


def test_workers_are_asked_at_most_once_in_a_while(db, monkeypatch) -> None:
    asked = []
    loop.cache.delete("caseloop:workers")
    monkeypatch.setattr(loop, "workers", lambda: asked.append(1) or ["one"])
    assert [loop.health()["workers"] for _ in range(3)] == [["one"]] * 3
    assert asked == [1]
    loop.cache.delete("caseloop:workers")


def test_an_annotator_sees_the_loop_without_links_to_pages_of_others(case, signed_in) -> None:
    client = signed_in(Role.ANNOTATOR)
    page = client.get("/label/").content.decode()
    assert "1 with annotators, 0 decided" in page
    part = client.get("/now/", headers={"HX-Request": "true"}).content.decode()
    assert "/queue/" not in part
    assert "/status/" not in part
