"""What several people answered, side by side on the page of the case."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User

from tests.conftest import annotator_named, case_named
from webapp.actions import people
from webapp.models import Annotation, Annotator, Case, CaseState, Origin, Schema
from webapp.queries import casepage, sides
from webapp.queries.sides import Sides
from webapp.roles import Role

ANSWERS = {"main_category": "VANE", "sub_category": "Child Neglect", "priority": "2"}
AMINA, ALL_BUT_ITS_FIRST_LETTER = ({"start": start, "end": 25, "label": "NAME"} for start in (20, 21))
SHE = {"start": 0, "end": 3, "label": "VICTIM"}
QUALITY = {"opening": {"phrase": True}, "hold": {"explains": None}}


@pytest.fixture
def differing(case: Case, say: Callable[..., Annotation | None]) -> Case:
    """The case, answered by two annotators who differ on all but the categories."""
    Case.objects.update(annotators_wanted=2)
    other = {"opening": {"phrase": False}, "hold": {"explains": None}}
    say("Wanjiru", ANSWERS | {"entities": [AMINA], "intervention": ["Referral"], "call_quality": QUALITY}, id=1)
    say(
        "Otieno",
        ANSWERS | {"priority": "1", "entities": [ALL_BUT_ITS_FIRST_LETTER, SHE], "intervention": []},
        id=2,
    )
    say("Otieno", ANSWERS | {"priority": "3", "entities": [SHE], "intervention": [], "call_quality": other}, id=3)
    return case_named("1")


def store(case: Case, by: Annotator, answers: dict[str, Any], origin: Origin = Origin.LABEL_STUDIO) -> None:
    version = case.schema.versions.get()
    Annotation.objects.create(case=case, annotator=by, schema_version=version, origin=origin, answers=answers)


def of(case: Case, schema: Schema, *, is_hidden: bool = False) -> Sides:
    found = sides.of(case, schema.versions.get().parsed, is_hidden=is_hidden)
    assert found is not None
    return found


def test_each_answer_stands_beside_the_others(helpline, differing) -> None:
    found = of(differing, helpline).heads
    assert [one.who for one in found["priority"].people] == ["Wanjiru", "Otieno"]
    assert [row.cells for row in found["priority"].rows] == [("2 Urgent", "3 Routine")]
    assert [(row.words, row.cells) for row in found["intervention"].rows] == [("Referral", ("✓", "·"))]
    assert [(row.words, row.cells) for row in found["call_quality"].rows] == [
        ("Uses the opening phrase", ("yes", "no")),
    ]
    assert {head: one.is_same for head, one in found.items()} == {
        "main_category": True,
        "sub_category": True,
        "intervention": False,
        "priority": False,
        "entities": False,
        "call_quality": False,
    }


def test_spans_are_told_to_match_exactly_in_part_or_not_at_all(helpline, case, say) -> None:
    Case.objects.update(annotators_wanted=2)
    say("Wanjiru", ANSWERS | {"entities": [SHE, AMINA]}, id=1)
    say("Otieno", ANSWERS | {"entities": [SHE, ALL_BUT_ITS_FIRST_LETTER]}, id=2)
    found = of(case_named("1"), helpline).heads["entities"]
    assert [(row.words, row.cells, row.match) for row in found.rows] == [
        ("She", ("Victim", "Victim"), "the same"),
        ("Amina", ("Name", "Name, in part"), "in part"),
        ("mina", ("Name, in part", "Name"), "in part"),
    ]
    assert found.distance == "100% of what they marked overlaps, 50% is the same"


def test_an_answer_names_the_inputs_of_the_form_that_hold_it(helpline, differing, signed_in) -> None:
    page = signed_in(Role.SUPERVISOR).get(f"/cases/{differing.pk}/").content.decode()
    found = of(differing, helpline).heads
    held = {head: [json.loads(one.inputs) for one in found[head].people] for head in found}
    assert held["intervention"] == [["intervention=Referral"], ["intervention.none=1"]]
    assert held["call_quality"][1] == ["call_quality.hold.explains=na", "call_quality.opening.phrase=no"]
    for name, _, value in (one.partition("=") for said in held.values() for inputs in said for one in inputs):
        assert f'name="{name}" value="{value}"' in page


def test_names_the_history_and_the_model_can_be_hidden_and_shown_again(differing, signed_in) -> None:
    desk = signed_in(Role.SUPERVISOR)
    path = f"/cases/{differing.pk}/"
    page = desk.get(path).content.decode()
    shown = ("Wanjiru", " data-said ", "the model is", 'class="likely"', "History")
    assert [words for words in shown if words not in page] == []
    desk.post(f"{path}hide-names/")
    page = desk.get(path).content.decode()
    main = page.split('<div class="actions">')[0]
    for words in (
        "Wanjiru",
        "Otieno",
        "the model is",
        'class="likely"',
        "History",
        "Answers of version",
        " data-said>",
    ):
        assert words not in main
    assert "Annotator 1" in page
    assert "Annotator 2" in page
    assert "(answered before)" not in page
    desk.post(f"{path}hide-names/")
    assert "Wanjiru" in desk.get(path).content.decode()


def test_the_order_of_hidden_names_tells_nothing(helpline, import_rows) -> None:
    import_rows(helpline, *({"id": str(number), "text": "She is lost"} for number in range(24)))
    firsts = set()
    for case in Case.objects.select_related("stored_text"):
        for name, priority in (("Wanjiru", "2"), ("Otieno", "3")):
            store(case, annotator_named(name), {"priority": priority})
        firsts.add(of(case, helpline, is_hidden=True).heads["priority"].rows[0].cells[0])
    assert firsts == {"2 Urgent", "3 Routine"}


def test_what_is_decided_with_the_model_hidden_is_not_called_a_fix(differing, signed_in) -> None:
    desk = signed_in(Role.SUPERVISOR)
    desk.post(f"/cases/{differing.pk}/hide-names/")
    revision = case_named("1").revision
    desk.post(f"/cases/{differing.pk}/", ANSWERS | {"priority": "3", "revision": revision, "prediction": ""})
    row = Annotation.objects.get(origin="review")
    assert (row.prediction, row.changed_heads) == (None, [])
    assert case_named("1").state == CaseState.DECIDED


def test_spans_that_only_annotators_marked_are_no_answer_until_somebody_takes_them(differing, signed_in) -> None:
    desk = signed_in(Role.SUPERVISOR)
    sent = ANSWERS | {"revision": differing.revision, "prediction": "", "entities.shown": "1"}
    desk.post(f"/cases/{differing.pk}/", sent)
    assert "entities" not in Annotation.objects.get(origin="review").answers
    desk.post(f"/cases/{differing.pk}/", sent | {"revision": case_named("1").revision, "entities.shown": "took"})
    assert Annotation.objects.filter(origin="review").latest("pk").answers["entities"] == []


def test_an_annotator_does_not_see_what_others_answered(differing, signed_in) -> None:
    mine = signed_in(Role.ANNOTATOR, "amina")
    store(differing, people.annotator_of(User.objects.get(username="amina")), {})
    page = mine.get(f"/cases/{differing.pk}/")
    assert page.status_code == 200
    assert 'class="sides"' not in page.content.decode()


def test_one_answer_alone_is_not_compared(helpline, case, say) -> None:
    say("Wanjiru", ANSWERS)
    assert sides.of(case_named("1"), helpline.versions.get().parsed, is_hidden=False) is None


def test_an_open_audit_shows_what_annotators_said_and_nothing_from_a_file(helpline, differing) -> None:
    store(differing, annotator_named("Njeri"), {"priority": "1"}, origin=Origin.IMPORT)
    assert len(of(case_named("1"), helpline).heads["priority"].people) == 3
    Case.objects.update(is_audit=True)
    found = of(case_named("1"), helpline)
    page = casepage.page(case_named("1"), sides=found)
    assert [one.who for one in found.heads["priority"].people] == ["Wanjiru", "Otieno"]
    assert (page.shown, page.history) == (None, ())
