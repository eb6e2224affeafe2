"""The page on which a supervisor decides a case, and the form that comes back from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from ml.answers import Problem
from ml.types import HeadPrediction
from tests.conftest import (
    AMINA,
    ANSWERS,
    FORM,
    TEXT,
    case_named,
    change_policy,
    decide,
    helpline_prediction,
    predict,
    submission,
    trained_version,
)
from webapp.actions import leases, people, submissions
from webapp.models import Annotation, Case, CaseState, Schema
from webapp.queries import casepage
from webapp.roles import Role


@pytest.fixture
def case(marked: Case) -> Case:
    return marked


def labels_of(case: Case) -> dict[str, Any]:
    return dict(case.labels.values_list("head", "answer"))


# --- What is shown ---------------------------------------------------------------------------------------------------


def test_the_page_shows_why_what_the_model_says_and_the_turns_of_the_call(case, desk) -> None:
    page = desk.get(f"/cases/{case.pk}/").content.decode()
    for words in (
        "why: urgent 31%; 62/38 between Violence, abuse, neglect and exploitation",
        "Answers of version 1",
        "▲ may be urgent",
        "with you, 15 min left",
        '<mark data-span="27:32:NAME">Amina<small>Name</small></mark>',
        '<span class="speaker">Caller</span>',
        "Meru",
        "the model is 62% sure",
    ):
        assert words in page
    assert 'value="VANE" checked' in page


def test_guesses_of_an_untrained_version_are_called_guesses(helpline, import_rows, desk) -> None:
    import_rows(helpline, {"id": "1", "text": TEXT})
    guess = {"main_category": HeadPrediction("VANE", None, {"VANE": 0.3})}
    case = predict(helpline.model_versions.get(kind="definitions"), "1", guess)
    page = desk.get(f"/cases/{case.pk}/").content.decode()
    assert "guess from the definition; no training yet" in page
    assert "why: no model trained yet" in page
    assert "30%" not in page


def test_the_page_reads_the_flags_of_its_case_once(case, desk) -> None:
    with CaptureQueriesContext(connection) as asked:
        page = desk.get(f"/cases/{case.pk}/").content.decode()
    assert "▲ may be urgent" in page
    assert len([query for query in asked if 'FROM "webapp_flag"' in query["sql"]]) == 1


@pytest.mark.parametrize("share", [0.0, 1.0], ids=["open", "audited"])
def test_the_page_says_that_an_annotator_called_the_case_urgent(helpline, import_rows, desk, share) -> None:
    change_policy(helpline, audit_share=share)
    import_rows(helpline, {"id": "1", "text": TEXT})
    case = predict(trained_version(helpline), "1", helpline_prediction(sure=0.62))
    submissions.record(case, submission(helpline, "Wanjiru", ANSWERS | {"priority": "1"}))
    page = desk.get(f"/cases/{case.pk}/").content.decode()
    assert "why: an annotator answered Priority 1 Critical" in page
    assert "▲ may be urgent" in page


def test_labels_stand_before_what_the_model_says(helpline, case) -> None:
    submissions.record(case, submission(helpline, "Wanjiru", {"main_category": "GBV"}))
    (main, *_) = casepage.page(case_named("1")).heads
    assert ([option.key for option in main.options if option.is_chosen], main.is_labelled) == (["GBV"], True)


def test_opening_a_case_in_review_holds_it_and_another_sees_who_has_it(case, desk, signed_in) -> None:
    desk.get(f"/cases/{case.pk}/")
    assert case_named("1").held_by.get_username() == "halima"
    page = signed_in(Role.SUPERVISOR, "juma").get(f"/cases/{case.pk}/").content.decode()
    assert "◆ with halima, 15 min left" in page
    assert case_named("1").held_by.get_username() == "halima"


def test_an_admin_reads_a_case_without_holding_or_deciding_it(case, signed_in) -> None:
    admin = signed_in(Role.ADMIN)
    page = admin.get(f"/cases/{case.pk}/").content.decode()
    assert "Save and next" not in page
    assert admin.post(f"/cases/{case.pk}/", FORM).status_code == 200
    assert (case_named("1").held_by, case_named("1").state) == (None, CaseState.REVIEW)


def test_an_erased_case_is_not_found(case, desk) -> None:
    Case.objects.update(state=CaseState.ERASED)
    assert desk.get(f"/cases/{case.pk}/").status_code == 404


@pytest.mark.parametrize(
    "script", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</textarea><script>"], ids=str
)
def test_html_in_texts_notes_names_and_problems_is_shown_as_text(helpline, import_rows, desk, script) -> None:
    spans = [{"start": 8, "end": 8 + len(script), "label": "NAME"}]
    import_rows(helpline, {"id": script, "text": f"Caller: {script}", script: script, "labels": {"entities": spans}})
    case = case_named(script)
    said = submission(helpline, script, {"priority": "1"}, note=script, problems=[Problem("", script)])
    submissions.record(case, said)
    for address in (f"/cases/{case.pk}/", "/queue/?state=review"):
        assert script not in desk.get(address).content.decode()


# --- What comes back -------------------------------------------------------------------------------------------------


def test_a_decision_is_saved_and_the_next_case_opened(helpline, import_rows, case, desk) -> None:
    import_rows(helpline, {"id": "2", "text": "b"})
    second = predict(trained_version(helpline, 2), "2", helpline_prediction(urgent=0.2))
    answer = decide(desk, note="  she is safe ")
    assert (answer.status_code, answer["Location"]) == (302, f"/cases/{second.pk}/")
    annotation = Annotation.objects.get()
    assert (annotation.origin, annotation.annotator.name, annotation.note) == ("review", "halima", "she is safe")
    assert (case_named("1").state, labels_of(case)) == (CaseState.DECIDED, ANSWERS)


def test_after_the_last_case_the_queue_is_shown(case, desk) -> None:
    assert decide(desk)["Location"] == "/queue/"
    page = desk.get("/queue/").content.decode()
    assert "Case 1 is decided." in page
    assert "Nothing waits for review." in page


def test_choosing_another_sub_category_sets_its_main_category(case, desk) -> None:
    decide(desk, sub_category="Sexual Violence")  # Under GBV, while the form still says VANE
    assert {head: labels_of(case)[head] for head in ("main_category", "sub_category")} == {
        "main_category": "GBV",
        "sub_category": "Sexual Violence",
    }


def test_a_main_category_that_the_sub_category_does_not_belong_to_is_refused(case, desk) -> None:
    answer = decide(desk, main_category="GBV")  # The sub-category stayed as it was shown
    assert answer.status_code == 422
    assert "sub_category is &#x27;Child Neglect&#x27;, which belongs to &#x27;VANE&#x27;" in answer.content.decode()
    assert list(Annotation.objects.all()) == []


@pytest.mark.parametrize("value", ["Weather", "1; drop table", "\x00", "9" * 500])
def test_an_answer_that_no_form_offers_is_refused(case, desk, value) -> None:
    answer = decide(desk, priority=value)
    assert answer.status_code == 422
    assert list(Annotation.objects.all()) == []


@pytest.mark.parametrize("revision", ["", "-1", "x", "²"])
def test_a_form_without_its_revision_is_refused(case, desk, revision) -> None:
    answer = decide(desk, revision=revision)
    assert answer.status_code == 422
    assert "The form is not complete; open the case again." in answer.content.decode()


def test_a_form_of_a_case_that_changed_is_refused_and_keeps_what_was_typed(helpline, case, desk) -> None:
    submissions.record(case, submission(helpline, "Wanjiru", {"priority": "3"}))
    answer = decide(desk, note="called back at noon", priority="1")
    page = answer.content.decode()
    assert answer.status_code == 409
    assert "Somebody changed this case since you opened it" in page
    assert "called back at noon" in page
    assert 'name="priority" value="1" checked' in page
    assert list(Annotation.objects.filter(origin="review")) == []
    case.refresh_from_db()
    assert f'name="revision" value="{case.revision}"' in page, "saved again, it is taken"


def test_a_faulty_form_of_a_case_that_changed_does_not_pass_for_a_fresh_one(helpline, case, desk) -> None:
    submissions.record(case, submission(helpline, "Wanjiru", {"priority": "3"}))
    faulty = decide(desk, main_category="", sub_category="")
    assert (faulty.status_code, faulty.context["revision"]) == (422, 0)
    mended = decide(desk, revision=faulty.context["revision"])
    assert mended.status_code == 409
    assert "Somebody changed this case since you opened it" in mended.content.decode()


def test_a_review_names_the_prediction_that_was_on_the_page(helpline, case, desk) -> None:
    seen = desk.get(f"/cases/{case.pk}/").context["page"].shown
    assert seen == case.current_prediction
    later = predict(trained_version(helpline, 2), "1", helpline_prediction("GBV", "Sexual Violence", urgent=0.5))
    assert later.current_prediction != seen
    decide(desk, prediction=seen.pk, priority="1")
    review = Annotation.objects.get()
    assert (review.prediction, review.changed_heads) == (seen, ["priority"])


def test_a_review_of_a_page_without_a_prediction_names_none(case, desk) -> None:
    decide(desk, prediction="")
    assert Annotation.objects.get().prediction is None


def test_a_prediction_of_another_case_is_refused(helpline, import_rows, case, desk) -> None:
    import_rows(helpline, {"id": "2", "text": "b"})
    other = predict(trained_version(helpline, 2), "2", helpline_prediction()).current_prediction
    for value in (other.pk, 10**30, "x"):
        answer = decide(desk, prediction=value)
        assert answer.status_code == 422
        assert "The form is not complete; open the case again." in answer.content.decode()
        assert f'name="prediction" value="{case.current_prediction.pk}"' in answer.content.decode()
    assert list(Annotation.objects.all()) == []


def test_no_label_of_a_required_head_is_an_answer_only_when_it_is_said(customer_case, desk) -> None:
    address = f"/cases/{customer_case.pk}/"
    silent = desk.post(address, {"revision": "0"})
    assert silent.status_code == 422
    assert "has no answer; choose one." in silent.content.decode()
    desk.post(address, {"revision": "0", "tags.none": "1"})
    assert labels_of(customer_case) == {"tags": []}


@pytest.fixture
def customer_case(helpline, import_rows) -> Case:
    import_rows(Schema.objects.get(name="customer"), {"id": "m1", "text": "Is this in stock?"})
    Case.objects.filter(external_id="m1").update(state="review")
    return case_named("m1")


def test_entities_that_are_unticked_are_taken_out(case, desk) -> None:
    decide(desk, **{"entities.shown": "1"})
    assert labels_of(case)["entities"] == []


def test_entities_that_stay_ticked_are_kept(case, desk) -> None:
    decide(desk, **{"entities.shown": "1", "entities": "27:32:NAME"})
    assert labels_of(case)["entities"] == [AMINA]


def test_choices_that_contradict_each_other_come_back_as_they_were_chosen(case, desk) -> None:
    page = decide(desk, main_category="GBV").context["page"]
    chosen = [option.key for view in page.heads for option in view.options if option.is_chosen]
    assert chosen == ["GBV", "Child Neglect", "2"]


def test_a_head_of_which_nothing_was_shown_and_nothing_answered_stays_unlabelled(case, desk) -> None:
    predict(case.current_prediction.version, "1", helpline_prediction(sure=0.62, urgent=0.31))
    decide(desk, **{"entities.shown": "1"})
    review = Annotation.objects.get(origin="review")
    assert review.answers == ANSWERS


def test_interventions_that_were_shown_and_are_unticked_are_none(helpline, case, desk) -> None:
    submissions.record(case, submission(helpline, "Wanjiru", {"intervention": ["Referral"]}))
    decide(desk, revision="1")
    assert labels_of(case)["intervention"] == []


def test_interventions_that_are_ticked_are_kept_in_the_order_of_the_schema(case, desk) -> None:
    decide(desk, intervention=["Referral", "Counselling"])
    assert labels_of(case)["intervention"] == ["Counselling", "Referral"]


def test_marks_of_the_call_are_kept_and_unmarked_ones_stay_unlabelled(case, desk) -> None:
    decide(desk, **{"call_quality.hold.explains": "na", "call_quality.opening.phrase": "yes"})
    assert labels_of(case)["call_quality"] == {"opening": {"phrase": True}, "hold": {"explains": None}}


def test_a_decision_can_be_changed_on_the_page(case, desk) -> None:
    decide(desk)
    decide(desk, priority="1", revision="1")
    assert labels_of(case)["priority"] == "1"


def test_a_case_can_be_let_go_and_taken_by_another(case, desk, signed_in) -> None:
    other = signed_in(Role.SUPERVISOR, "juma")
    assert desk.post("/queue/next/")["Location"] == f"/cases/{case.pk}/"
    assert other.post("/queue/next/")["Location"] == "/queue/"
    assert desk.post(f"/cases/{case.pk}/release/")["Location"] == "/queue/"
    assert other.post("/queue/next/")["Location"] == f"/cases/{case.pk}/"


def test_an_annotator_sees_the_cases_that_they_answered(helpline, case, person, signed_in) -> None:
    client = signed_in(Role.ANNOTATOR, "wanjiru")
    assert client.get(f"/cases/{case.pk}/").status_code == 404
    theirs = people.annotator_of(User.objects.get(username="wanjiru"))
    submissions.record(case, replace(submission(helpline, "somebody", {"priority": "2"}), annotator=theirs))
    assert client.get(f"/cases/{case.pk}/").status_code == 200
    assert client.post(f"/cases/{case.pk}/", FORM | {"revision": "1"}).status_code == 200
    assert list(Annotation.objects.filter(origin="review")) == []


def test_a_case_is_not_decided_twice_by_the_same_form(case, desk, person) -> None:
    decide(desk)
    decide(desk)
    assert Annotation.objects.get().answers["priority"] == "2"
    assert leases.take(case_named("1"), person(Role.SUPERVISOR, "juma")) is False
