"""Names that are hidden at the desk until somebody says what they need them for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from ml.types import HeadPrediction
from tests.conftest import case_named, change_policy, helpline_prediction, ids, predict, submission, trained_version
from webapp.actions import escalations, reviews, submissions, tokens
from webapp.models import Annotation, Case, Cover, Draft, Reveal, RevealReason, Schema, Scope, Token
from webapp.queries import answers, casepage
from webapp.roles import Role

TEXT = "Agent: Hello?\nCaller: I am Amina Otieno. My baby is hungry; amina otieno."
AMINA = {"start": 27, "end": 39, "label": "NAME"}
BABY = {"start": 44, "end": 48, "label": "VICTIM"}
FORM = {"main_category": "VANE", "sub_category": "Child Neglect", "priority": "2", "entities.shown": "1"}


@pytest.fixture
def case(helpline: Schema, import_rows: Callable[..., Any]) -> Case:
    """A case in review, whose names are hidden."""
    change_policy(helpline, hidden_labels=["NAME"], hide_from_reviewers=True, reveal_minutes=10.0)
    import_rows(helpline, {"id": "1", "text": TEXT, "caller": "Amina Otieno"})
    looks = {"main_category": [[27, 32, 0.4], [33, 39, 0.9], [52, 58, 0.5]]}
    prediction = helpline_prediction(sure=0.62, urgent=0.31) | {"entities": HeadPrediction([AMINA, BABY], None)}
    found = predict(trained_version(helpline), "1", prediction)
    found.current_prediction.looks = looks
    found.current_prediction.save()
    return found


@pytest.fixture
def desk(signed_in: Callable[..., Client]) -> Client:
    return signed_in(Role.SUPERVISOR, "halima")


def shown(client: Client, case: Case) -> str:
    return client.get(f"/cases/{case.pk}/").content.decode()


def decide(desk: Client, case: Case, **form: Any) -> Annotation | None:
    values = FORM | {"prediction": case.current_prediction_id, "revision": str(case_named("1").revision)}
    desk.post(f"/cases/{case.pk}/", values | form)
    return Annotation.objects.filter(origin="review").order_by("pk").last()


def test_a_page_shows_surrogates_and_nothing_of_the_names(case, desk) -> None:
    page = shown(desk, case)
    assert "Amina" not in page
    assert "amina" not in page
    assert '<mark data-span="27:35:NAME">' in page
    assert "Names are hidden." in page
    assert f'name="cover" value="{Cover.objects.get().pk}"' in page


def test_words_that_a_head_looked_at_are_marked_on_the_surrogate(case) -> None:
    cover = Cover.objects.create(case=case, pieces=[[27, 39, "Person A"]], rules={"region": "KE"})
    page = casepage.page(case_named("1"), cover=cover)
    words = {piece.words: piece.looks for turn in page.turns for piece in turn.pieces if piece.looks}
    assert words == {"Person A": (("main_category", 3),), "hungry": (("main_category", 2),)}


def test_what_was_left_is_saved_as_predicted_and_what_was_marked_on_the_text_itself(case, desk) -> None:
    shown(desk, case)
    cover = str(Cover.objects.get().pk)
    found = decide(desk, case, cover=cover, entities=["27:35:NAME", "40:44:VICTIM", "56:62:NAME"])
    again = {"start": 60, "end": 72, "label": "NAME"}
    assert found.answers["entities"] == [AMINA, BABY, again]
    assert found.changed_heads == ["entities"]


def test_what_nobody_touched_is_no_change(case, desk) -> None:
    shown(desk, case)
    found = decide(desk, case, cover=str(Cover.objects.get().pk), entities=["27:35:NAME", "40:44:VICTIM"])
    assert (found.answers["entities"], found.changed_heads) == ([AMINA, BABY], [])


def test_words_are_typed_as_they_are_shown(case, desk) -> None:
    shown(desk, case)
    more = {"entities.words": "Person A", "entities.label": "VICTIM", "cover": str(Cover.objects.get().pk)}
    found = decide(desk, case, entities=["40:44:VICTIM"], **more)
    assert found.answers["entities"] == [{**AMINA, "label": "VICTIM"}, BABY]


def test_a_form_is_read_by_the_cover_that_it_was_shown_with(case, desk, helpline) -> None:
    shown(desk, case)
    first = Cover.objects.get()
    change_policy(helpline, hidden_labels=["VICTIM"])
    assert "Amina" in shown(desk, case)
    found = decide(desk, case, cover=str(first.pk), entities=["27:35:NAME", "40:44:VICTIM"])
    assert found.answers["entities"] == [AMINA, BABY]


def test_a_form_with_an_unknown_cover_decides_nothing(case, desk) -> None:
    assert decide(desk, case, cover="999", entities=["27:35:NAME"]) is None
    assert decide(desk, case, cover="9" * 30, entities=["27:35:NAME"]) is None


def test_a_reveal_needs_a_reason_and_another_reason_needs_words(case, desk) -> None:
    for reason in ({}, {"reveal_reason": "curiosity"}, {"reveal_reason": "other", "reveal_note": " "}):
        page = desk.post(f"/cases/{case.pk}/reveal/", reason, follow=True).content.decode()
        assert "Choose what you need the names for" in page
        assert "Amina" not in page
    assert not Reveal.objects.exists()


def test_a_reveal_is_recorded_and_shows_the_names_to_this_person_on_this_case_for_a_while(
    case, desk, signed_in, helpline, import_rows
) -> None:
    asked = {"reveal_reason": "referral", "reveal_note": "calls back", "revision": "0", "note": "kept"}
    page = desk.post(f"/cases/{case.pk}/reveal/", asked, follow=True).content.decode()
    row = Reveal.objects.get()
    assert (row.case, row.person.username, row.reason, row.note) == (case, "halima", "referral", "calls back")
    assert timedelta(minutes=9) < row.until - timezone.now() <= timedelta(minutes=10)
    assert "Amina" in page
    assert "You see the names of this case until" in page
    draft = Draft.objects.get()
    assert (draft.values["note"], "reveal_note" in draft.values) == (["kept"], False)
    assert "Amina" not in shown(signed_in(Role.SUPERVISOR, "juma"), case)
    import_rows(helpline, {"id": "2", "text": TEXT})
    prediction = helpline_prediction(sure=0.62, urgent=0.31) | {"entities": HeadPrediction([AMINA], None)}
    other = predict(trained_version(helpline, 2), "2", prediction)
    assert "Amina" not in shown(desk, other)


def test_a_reveal_that_is_over_shows_nothing_any_more(case, desk) -> None:
    person = User.objects.get(username="halima")
    Reveal.objects.create(case=case, person=person, reason=RevealReason.SAME, until=timezone.now())
    assert "Amina" not in shown(desk, case)


def test_a_draft_of_the_covered_page_stands_on_the_open_one(case, desk) -> None:
    shown(desk, case)
    cover = str(Cover.objects.get().pk)
    asked = {"reveal_reason": "danger", "revision": str(case_named("1").revision), "cover": cover}
    page = desk.post(f"/cases/{case.pk}/reveal/", FORM | asked | {"entities": ["27:35:NAME"]}, follow=True)
    assert 'value="27:39:NAME" checked' in page.content.decode()


def test_notes_of_the_history_hide_the_same_names(case, desk, helpline) -> None:
    submissions.record(case, submission(helpline, "Wanjiru", {"priority": "1"}, note="Ask AMINA OTIENO again"))
    page = shown(desk, case)
    assert "Ask Person A again" in page
    assert "AMINA" not in page


def test_alerts_and_what_is_sent_back_hide_the_same_names(case, desk, signed_in, person) -> None:
    juma = person(Role.SUPERVISOR, "juma")
    escalations.escalate(case, juma, note="Call AMINA OTIENO")
    page = desk.get("/alerts/").content.decode()
    assert ("Call Person A" in page, "AMINA" in page) == (True, False)
    Reveal.objects.create(
        case=case,
        person=User.objects.get(username="halima"),
        reason="danger",
        until=timezone.now() + timedelta(hours=1),
    )
    assert "Call AMINA OTIENO" in desk.get("/alerts/").content.decode()
    reviews.send_back(case, juma, revision=case_named("1").revision, note="Is amina otieno a child?")
    page = signed_in(Role.ANNOTATOR, "wanjiru").get("/label/").content.decode()
    assert ("Is Person A a child?" in page, "amina" in page) == (True, False)


def test_answers_side_by_side_hide_the_same_names(case, desk, helpline) -> None:
    part = {**AMINA, "end": 32}
    for number, (name, span) in enumerate((("Wanjiru", AMINA), ("Otieno", part)), start=1):
        answers = {"main_category": "VANE", "entities": [span, BABY]}
        submissions.record(case, submission(helpline, name, answers, id=number))
    page = shown(desk, case)
    assert 'class="sides"' in page
    assert "amina" not in page.lower()
    assert "27:35:NAME" in page, "both answers are taken over where they stand in what is shown"
    assert "27:39:NAME" not in page


def found(client: Client, words: str) -> list[str]:
    address = client.post("/queue/search/", {"words": words, "list": "state=any"}).url
    page = client.get(address)
    assert "Cases whose names are hidden from you are not searched." in page.content.decode()
    return ids(page.context["page"])


def test_a_search_tells_nothing_of_cases_whose_names_are_hidden(case, desk, import_rows, signed_in) -> None:
    other = Schema.objects.get(name="customer")
    import_rows(other, {"id": "2", "text": "Amina is hungry"})
    assert found(desk, "amina") == found(desk, "hungry") == ["2"]
    assert found(desk, "hungry -amina") == []
    Reveal.objects.create(
        case=case,
        person=User.objects.get(username="halima"),
        reason="danger",
        until=timezone.now() + timedelta(hours=1),
    )
    assert sorted(found(desk, "amina")) == ["1", "2"]
    assert found(signed_in(Role.ADMIN, "ada"), "amina") == ["2"]


def test_a_token_finds_what_its_person_may_and_that_of_a_service_all(case, person) -> None:
    owner = person(Role.SUPERVISOR)
    for name, user in ((case.source, None), ("mine", owner)):
        tokens.issue(name, [Scope.READ], days=1, by=None, user=user)
    service, mine = Token.objects.order_by("pk")
    assert [len(answers.find(token, words="amina", most=9)[0]) for token in (service, mine)] == [1, 0]


def test_annotators_see_surrogates_too_and_cannot_reveal(case, desk, helpline, signed_in) -> None:
    client = signed_in(Role.ANNOTATOR, "wanjiru")
    annotation = submission(helpline, "wanjiru", {"priority": "1"})
    stored = submissions.record(case, annotation)
    stored.annotator.user = User.objects.get(username="wanjiru")
    stored.annotator.save()
    page = shown(client, case)
    assert "Names are hidden." in page
    assert "Reveal names" not in page
    assert client.post(f"/cases/{case.pk}/reveal/", {"reveal_reason": "danger"}).status_code == 403


def test_without_the_setting_the_desk_shows_the_text(case, desk, helpline) -> None:
    change_policy(helpline, hide_from_reviewers=False)
    assert "Amina" in shown(desk, case)
