"""How far people agree, as the page tells it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from ml.types import Labels
from tests.conftest import NOON, annotator_named, case_named
from webapp.actions import reviews
from webapp.models import Act, Annotation, Case, Origin, Review, Schema
from webapp.queries import agreement
from webapp.queries.agreement import HeadFigures
from webapp.roles import Role

NAME = {"start": 0, "end": 4, "label": "NAME"}


@pytest.fixture
def answer(helpline: Schema, import_rows: Callable[..., Any]) -> Callable[..., Annotation]:
    """Store what a person answered to the case with a number, which is imported if there is none."""

    def store(number: int, by: str, answers: Labels, **changes: Any) -> Annotation:
        if not Case.objects.filter(external_id=str(number)).exists():
            import_rows(helpline, {"id": str(number), "text": "Mary is lost"})
        return Annotation.objects.create(
            **{"origin": Origin.LABEL_STUDIO} | changes,
            case=case_named(str(number)),
            annotator=annotator_named(by),
            schema_version=helpline.versions.get(),
            answers=answers,
        )

    return store


def of(schema: Schema, head: str) -> HeadFigures:
    return next(found for found in agreement.figures(schema) if found.head.key == head)


def test_everybody_and_each_pair_that_shares_enough_cases_have_a_figure(helpline, answer, signed_in) -> None:
    for number in range(24):
        answer(number, "Amina", {"priority": "1" if number % 2 else "2"})
        answer(number, "Otieno", {"priority": "1" if number % 2 or number < 6 else "2"})
    answer(0, "Wanjiru", {"priority": "3"})
    found = of(helpline, "priority")
    assert [(one.words, one.n) for one in found.overall] == [("Krippendorff's alpha", 24)]
    (pair,) = found.pairs
    (kappa,) = pair.figures
    assert (pair.names, kappa.words, kappa.n) == (("Amina", "Otieno"), "Cohen's kappa", 24)
    assert kappa.value == pytest.approx(0.75)  # 21 of 24 alike; by chance, 12 of 24
    assert kappa.interval == agreement.figures(helpline)[0].pairs[0].figures[0].interval
    assert found.few_pairs == 2
    page = signed_in(Role.SUPERVISOR).get("/agreement/?schema=helpline").content.decode()
    assert "Amina, Otieno" in page
    assert "<b>0.75</b>" in page
    assert "2 pairs share too few cases" in page


def test_a_figure_of_few_cases_is_not_shown(helpline, answer, signed_in) -> None:
    for by in ("Amina", "Otieno"):
        answer(1, by, {"entities": [NAME], "call_quality": {"opening": {"phrase": True}}})
    assert [one.is_few for one in of(helpline, "entities").overall] == [True, True]
    assert [one.words for one in of(helpline, "call_quality").parts] == ["Opening: Uses the opening phrase"]
    page = signed_in(Role.ADMIN).get("/agreement/?schema=helpline").content.decode()
    assert page.count("too few</span>") == 4
    assert "<b>" not in page.split("<main")[1]


def test_only_own_answers_before_a_supervisor_speaks_count(helpline, answer, person) -> None:
    answer(1, "Amina", {"priority": "1"})
    answer(1, "Otieno", {"priority": "2"})
    case = case_named("1")
    reviews.decide(case, person(Role.SUPERVISOR), answers={"priority": "3"}, revision=case.revision)
    answer(1, "Otieno", {"priority": "1"})
    (said,) = agreement.own_answers(helpline).cases
    assert list(said.values()) == [{"priority": "1"}, {"priority": "2"}]


def test_an_edit_a_skip_and_an_answer_taken_back_are_read_as_they_are_meant(helpline, answer) -> None:
    first = answer(1, "Amina", {"priority": "1"})
    answer(1, "Amina", {"priority": "2"}, supersedes=first)
    answer(1, "Otieno", {"priority": "2"})
    answer(1, "Wanjiru", {}, is_skip=True)
    (said,) = agreement.own_answers(helpline).cases
    assert list(said.values()) == [{"priority": "2"}, {"priority": "2"}]
    taken = answer(2, "Amina", {"priority": "1"})
    answer(2, "Amina", {}, supersedes=taken, is_deletion=True)
    answer(2, "Otieno", {"priority": "1"})
    assert len(agreement.own_answers(helpline).cases) == 1


def test_a_label_that_the_schema_lost_is_left_out(helpline, answer) -> None:
    answer(1, "Amina", {"priority": "0", "main_category": "VANE"})
    answer(1, "Otieno", {"priority": "1", "main_category": "VANE"})
    assert [found.head.key for found in agreement.figures(helpline)] == ["main_category"]


def test_a_new_answer_is_counted_at_once(helpline, answer, person) -> None:
    for by in ("Amina", "Otieno"):
        answer(1, by, {"priority": "1"})
    assert of(helpline, "priority").overall[0].n == 1
    for by in ("Amina", "Otieno"):
        answer(2, by, {"priority": "1"})
    assert of(helpline, "priority").overall[0].n == 2
    supervisor = person(Role.SUPERVISOR)
    Review.objects.create(case=case_named("2"), person=supervisor, act=Act.SEND_BACK, at=NOON + timedelta(1))
    assert of(helpline, "priority").overall[0].n == 1


def test_the_page_says_what_to_do_where_nobody_answered_twice(helpline, answer, signed_in) -> None:
    answer(1, "Amina", {"priority": "1"})
    assert "No case has been answered by two people yet" in signed_in(Role.ADMIN).get("/agreement/").content.decode()
