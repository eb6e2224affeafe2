"""Entities and call quality as a trained version answers them: on the page of a case, in the queue, in Label Studio."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from annotate import payloads
from ml.types import HeadPrediction
from tests.conftest import change_policy, helpline_prediction, listing, predict, trained_version
from webapp.actions import label_studio
from webapp.models import Annotation, Case, HeadScore, Prediction, Schema
from webapp.queries import casepage
from webapp.roles import Role

TEXT = "Agent: Hello?\nCaller: I am Amina. My baby is hungry."
AMINA = {"start": 27, "end": 32, "label": "NAME"}
FORM = {"main_category": "VANE", "sub_category": "Child Neglect", "priority": "2", "revision": "0"}


@pytest.fixture
def desk(signed_in: Callable[..., Client]) -> Client:
    return signed_in(Role.SUPERVISOR, "halima")


@pytest.fixture
def trained(helpline: Schema, import_rows: Callable[..., Any]) -> Case:
    """A case that a trained version answered with entities and call quality too."""
    import_rows(helpline, {"id": "1", "text": TEXT})
    quality = {"opening": {"phrase": True}, "hold": {"explains": None, "thanks": None}, "closing": {"phrase": False}}
    likely = {"opening.phrase": 0.93, "hold.explains": 0.5, "hold.thanks": 0.5, "closing.phrase": 0.08}
    prediction = helpline_prediction(urgent=0.31) | {
        "entities": HeadPrediction([AMINA | {"confidence": 0.914}], None),
        "call_quality": HeadPrediction(quality, 0.41, likely),
    }
    return predict(trained_version(helpline), "1", prediction)


def test_trained_spans_are_no_guess_and_each_says_how_sure_the_model_is(trained, desk) -> None:
    page = desk.get(f"/cases/{trained.pk}/").content.decode()
    assert '<mark data-span="27:32:NAME">Amina<small>Name</small></mark>' in page
    assert '<span>Amina</span><span class="quiet small">Name 91%</span>' in page
    assert "guess from the definition" not in page


def test_call_quality_is_filled_in_with_yes_no_and_not_applicable(trained, desk) -> None:
    page = desk.get(f"/cases/{trained.pk}/").content.decode()
    for key, value in (("opening.phrase", "yes"), ("hold.explains", "na"), ("closing.phrase", "no")):
        assert f'name="call_quality.{key}" value="{value}" checked' in page
    assert '<small class="quiet">93% yes</small>' in page
    assert "the model is 41% sure of all of it" in page
    listening = casepage.page(trained).heads[-1].groups[1][1]
    assert {(mark.value, mark.percent) for mark in listening} == {("", "")}


def test_what_a_person_leaves_as_it_was_filled_in_is_not_called_changed(trained, desk) -> None:
    marks = {"opening.phrase": "yes", "hold.explains": "na", "hold.thanks": "na", "closing.phrase": "no"}
    filled = {f"call_quality.{key}": value for key, value in marks.items()}
    entities = {"entities": "27:32:NAME", "entities.shown": "1"}
    desk.post(f"/cases/{trained.pk}/", FORM | filled | entities | {"prediction": trained.current_prediction.pk})
    review = Annotation.objects.get()
    assert (review.answers["entities"], review.changed_heads) == ([AMINA], [])
    assert review.answers["call_quality"] == trained.current_prediction.heads["call_quality"]["answer"]


def test_candidates_stand_in_the_order_of_their_probability_with_a_key_each(trained, desk) -> None:
    page = desk.get(f"/cases/{trained.pk}/")
    sub = page.context["page"].heads[1]
    assert [option.key for option in sub.likely[:2]] == ["Child Neglect", "Physical Abuse"]
    assert [view.letter for view in page.context["page"].heads] == ["m", "s", "i", "p", "e", "c"]
    assert 'value="Physical Abuse" data-parent-head="main_category" data-parent-label="VANE" aria-keyshortcuts="2"' in (
        page.content.decode()
    )


def test_words_that_a_head_looked_at_are_marked_once_the_head_is_chosen(trained, desk) -> None:
    looks = {"main_category": [[45, 51, 0.6], [37, 41, 0.1]], "priority": [[45, 51, 0.3]]}
    Prediction.objects.update(looks=looks)
    page = desk.get(f"/cases/{trained.pk}/").content.decode()
    assert '<span class="look" data-looks="priority=3;main_category=3;">hungry</span>' in page
    page = desk.get(f"/cases/{trained.pk}/?look=main_category").content.decode()
    assert '<span class="look look-3" data-looks="priority=3;main_category=3;">hungry</span>' in page
    assert '<span class="look look-1" data-looks="main_category=1;">baby</span>' in page


def test_a_blind_page_does_not_tell_what_the_model_looked_at(helpline, trained, desk) -> None:
    Prediction.objects.update(looks={"main_category": [[45, 51, 0.6]]})
    Case.objects.update(is_audit=True)
    assert "data-looks" not in desk.get(f"/cases/{trained.pk}/?look=main_category").content.decode()


def test_the_page_tells_what_the_model_said_from_what_a_person_chose(trained, desk) -> None:
    page = desk.post(
        f"/cases/{trained.pk}/", FORM | {"priority": "3", "sub_category": "", "main_category": ""}
    ).content.decode()
    assert 'name="priority" value="2" data-said' in page
    assert 'name="priority" value="3" checked' in page


def test_an_entity_of_the_model_that_was_taken_out_can_be_put_back(trained, desk) -> None:
    desk.post(f"/cases/{trained.pk}/", FORM | {"entities.shown": "1"})
    page = desk.get(f"/cases/{trained.pk}/").content.decode()
    assert 'value="27:32:NAME" data-said>' in page
    assert "<mark" not in page


def test_entities_can_be_added_by_place_or_by_typing_their_words(trained, desk) -> None:
    typed = {"entities.words": "baby", "entities.label": "VICTIM"}
    desk.post(f"/cases/{trained.pk}/", FORM | {"entities.shown": "1", "entities": ["27:32:NAME", "7:12:NAME"]} | typed)
    assert Annotation.objects.get().answers["entities"] == [
        {"start": 7, "end": 12, "label": "NAME"},
        AMINA,
        {"start": 37, "end": 41, "label": "VICTIM"},
    ]


@pytest.mark.parametrize("words", ["Wambui", "Amina", "bab"], ids=["absent", "marked", "part of a word"])
def test_words_to_mark_that_cannot_be_found_are_refused_and_nothing_typed_is_lost(trained, desk, words) -> None:
    typed = {"entities.words": words, "entities.label": "VICTIM", "entities": ["27:32:NAME", "7:12:NAME"]}
    answer = desk.post(f"/cases/{trained.pk}/", FORM | {"note": "a note", "entities.shown": "1"} | typed)
    page = answer.content.decode()
    assert answer.status_code == 422
    assert "Entities: these words do not stand in the text, or are marked already." in page
    for kept in (f'value="{words}"', 'value="VICTIM" selected', 'value="7:12:NAME" checked', ">a note<"):
        assert kept in page


def test_a_version_that_was_not_trained_guesses_whatever_confidence_it_claims(helpline, import_rows) -> None:
    import_rows(helpline, {"id": "1", "text": TEXT})
    case = predict(helpline.model_versions.get(kind="definitions"), "1", helpline_prediction())
    guesses = {view.head.key: view.is_guess for view in casepage.page(case).heads}
    answered = dict.fromkeys(("main_category", "sub_category", "priority"), True)
    assert guesses == answered | dict.fromkeys(("intervention", "entities", "call_quality"), False)


def test_the_scalars_of_spans_and_rubrics_are_stored(trained) -> None:
    scores = HeadScore.objects.filter(prediction=trained.current_prediction, head__in=("entities", "call_quality"))
    found = {score.head: (score.answer_key, score.confidence, round(score.harm, 3)) for score in scores}
    assert found == {"entities": ("", None, 0.086), "call_quality": ("", 0.41, 0.59)}


def test_the_queue_says_in_words_what_entities_and_call_quality_are_unsure(trained, helpline) -> None:
    change_policy(helpline, thresholds={"entities": 0.95, "call_quality": 0.9})
    prediction = trained.current_prediction
    found = {key: HeadPrediction.from_json(head) for key, head in prediction.heads.items()}
    predict(prediction.version, "1", found)
    (row,) = listing().rows
    assert row.reason == "urgent 31%; Entities unsure (91%); Call quality unsure (41%)"
    assert row.answers == ("2 Urgent", "Entities: 1", "Call quality: 1 of 2 yes")


def test_label_studio_is_sent_spans_with_their_scores_and_every_mark(trained, helpline) -> None:
    parsed = helpline.versions.get().parsed
    entry = payloads.predictions_entry(parsed, label_studio.shown(parsed, trained), "version 1", rank=0.0)
    (name,) = [region for region in entry["result"] if region["type"] == "labels"]
    assert (name["value"], name["score"]) == ({"start": 27, "end": 32, "labels": ["NAME"]}, 0.914)
    labels, problems = payloads.labels_of(parsed, entry["result"], TEXT)
    assert (labels["entities"], problems) == ([AMINA], [])
    assert labels["call_quality"] == trained.current_prediction.heads["call_quality"]["answer"]


def test_tags_in_the_queue_are_named(helpline, import_rows) -> None:
    customer = Schema.objects.get(name="customer")
    import_rows(customer, {"id": "m", "text": "m"})
    keys = customer.versions.get().parsed.head("tags").keys
    predict(trained_version(customer), "m", {"tags": HeadPrediction(list(keys[:2]), 0.3, dict.fromkeys(keys, 0.5))})
    (row,) = listing(state="labelling", schema="customer").rows
    assert (row.reason, row.answers) == ("Tags unsure (30%)", ("First-time visitor, Wishlist user",))
