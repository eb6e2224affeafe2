"""The figures of the loop: what they count, and how they are drawn."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any
from xml.etree import ElementTree

import pytest
from django.utils import timezone

from ml.policy import FlagKind
from tests.conftest import annotator_named, case_named, helpline_prediction, predict, trained_version
from webapp import charts
from webapp.actions import flags, snapshots
from webapp.models import Annotation, Annotator, AnnotatorKind, Case, Evaluation, Flag, Origin, Schema
from webapp.queries import figures
from webapp.queries.figures import Figure
from webapp.roles import Role

HEADS = ("Main category", "Sub-category", "Priority", "Entities")


@pytest.fixture
def cases(helpline: Schema, import_rows: Callable[..., Any]) -> list[Case]:
    import_rows(helpline, *({"id": str(number), "text": f"call {number}"} for number in range(4)))
    return list(Case.objects.order_by("external_id"))


def made(name: str) -> Figure:
    """A figure with much in it."""
    rows: dict[str, list[tuple[Any, ...]]] = {
        "queue": [(date(2026, 3, 1) + timedelta(days=at), at, 30 - at) for at in range(30)],
        "people": [(f"A person of <markup> & more {at}", at, 2 * at) for at in range(20)],
        "accuracy": [(at, 0.5 + at / 50, 0.9, None if at < 3 else 0.4, 0.2) for at in range(1, 9)],
        "confidence": [(f"{at * 10} %", at, 9 - at, 3, 0) for at in range(10)],
    }
    columns = {"queue": ("came", "left"), "people": ("labelled", "reviewed")}.get(name, HEADS)
    return Figure(name, name.title(), "", ("First", *columns), tuple(rows[name]))


def test_a_case_comes_once_to_the_queue_and_leaves_with_its_last_flag(helpline, cases) -> None:
    today, days = timezone.localdate(), timedelta(days=1)
    for case in cases:
        flags.raise_flag(case, FlagKind.ESCALATION)
        flags.raise_flag(case, FlagKind.LOW_RATING)
    first = Flag.objects.filter(case=cases[0], kind=FlagKind.ESCALATION)
    first.update(raised_at=timezone.now() - 3 * days)
    flags.resolve_all(cases[0])
    flags.raise_flag(cases[1], FlagKind.DISAGREEMENT, head="priority")
    Flag.objects.filter(case=cases[1], kind=FlagKind.ESCALATION).update(resolved_at=timezone.now())
    Flag.objects.filter(case=cases[2]).update(
        raised_at=timezone.now() - 90 * days, resolved_at=timezone.now() - 2 * days
    )
    found = {day: (came, left) for day, came, left in figures.queue(helpline).rows}
    assert len(found) == figures.DAYS
    assert found.pop(today) == (2, 1)
    assert found.pop(today - 3 * days) == (1, 0)
    assert found.pop(today - 2 * days) == (0, 1)
    assert set(found.values()) == {(0, 0)}


def test_people_are_told_apart_by_what_they_did_and_imports_are_none(helpline, cases) -> None:
    version = helpline.versions.get()

    def answer(case: Case, by: Annotator, origin: Origin, **changes: Any) -> None:
        Annotation.objects.create(case=case, annotator=by, schema_version=version, origin=origin, **changes)

    amina, halima = annotator_named("Amina"), annotator_named("Halima")
    for case in cases[:3]:
        answer(case, amina, Origin.LABEL_STUDIO)
    answer(cases[0], amina, Origin.LABEL_STUDIO)
    answer(cases[3], amina, Origin.LABEL_STUDIO, is_skip=True)
    answer(cases[3], halima, Origin.REVIEW)
    answer(cases[0], Annotator.objects.create(kind=AnnotatorKind.IMPORT, name="file"), Origin.IMPORT)
    assert figures.people(helpline).rows == (("Amina", 3, 0), ("Halima", 0, 1))


def test_each_version_has_the_accuracy_that_it_was_stored_with(helpline) -> None:
    version = helpline.versions.get()
    snapshot = snapshots.take(version)
    for number, accuracy in ((1, 0.5), (2, 0.75)):
        heads = {"main_category": {"accuracy": accuracy, "n": 10}}
        if number == 2:
            heads["intervention"] = {"micro_f1": 0.25, "n": 10}
        one = trained_version(helpline, number)
        Evaluation.objects.create(version=one, snapshot=snapshot, heads=heads)
    found = figures.accuracy(helpline)
    assert found.columns == ("Version", "Main category (accuracy)", "Intervention (micro F1)")
    assert found.rows == ((1, 0.5, None), (2, 0.75, 0.25))


def test_confidence_is_counted_in_tenths_and_without_what_is_answered_blind(helpline, cases) -> None:
    version = trained_version(helpline)
    for case, sure in zip(cases, (0.31, 0.39, 1.0, 0.95), strict=True):
        predict(version, case.external_id, helpline_prediction(sure=sure))
    counts = {row[0]: row[1] for row in figures.confidence(helpline).rows}
    assert {words: n for words, n in counts.items() if n} == {"30–40 %": 2, "90–100 %": 2}  # noqa: RUF001
    Case.objects.filter(external_id="0").update(is_audit=True)
    assert case_named("0").is_open
    assert figures.confidence(helpline).rows[3][1] == 1


@pytest.mark.parametrize("name", figures.FIGURES)
@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
def test_a_chart_is_drawn_in_the_colours_of_the_desk(name, is_dark) -> None:
    drawn = charts.svg(made(name), is_dark=is_dark)
    palette = charts.DARK if is_dark else charts.LIGHT
    assert ElementTree.fromstring(drawn).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314 - ours
    assert palette.surface in drawn.decode()
    assert palette.series[0] in drawn.decode()
    assert charts.svg(made(name), is_dark=is_dark, is_narrow=True).count(b'width="259.2pt"') == 1  # Of 72 to an inch
    assert drawn == charts.svg(made(name), is_dark=is_dark), "or it would never be the same for a browser"


def test_series_differ_in_more_than_their_colour() -> None:
    lines = [tuple(charts._line(at, charts.LIGHT)[key] for key in ("linestyle", "marker")) for at in range(8)]
    bars = [charts._bar(at, charts.LIGHT)["hatch"] for at in range(2)]
    assert (len(set(lines)), len(set(bars))) == (8, 2)


def test_a_browser_that_has_a_chart_is_told_so(helpline, cases, signed_in) -> None:
    desk = signed_in(Role.SUPERVISOR)
    flags.raise_flag(cases[0], FlagKind.ESCALATION)
    first = desk.get("/figures/helpline/queue.svg")
    assert (first["Content-Type"], first["Cache-Control"]) == ("image/svg+xml", "private, max-age=60")
    again = desk.get("/figures/helpline/queue.svg", headers={"If-None-Match": first["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    others = {desk.get(f"/figures/helpline/queue.svg?{one}")["ETag"] for one in ("dark", "narrow", "narrow&dark")}
    assert len(others - {first["ETag"]}) == 3
    flags.raise_flag(cases[1], FlagKind.ESCALATION)
    changed = desk.get("/figures/helpline/queue.svg", headers={"If-None-Match": first["ETag"]})
    assert changed.status_code == 200
    assert desk.get("/figures/helpline/secrets.svg").status_code == 404


def test_each_chart_has_its_table_and_a_text(helpline, cases, signed_in) -> None:
    desk = signed_in(Role.ADMIN)
    assert desk.get("/figures/").content.decode().count("Nothing to show yet") == 4
    flags.raise_flag(cases[0], FlagKind.ESCALATION)
    page = desk.get("/figures/?schema=helpline").content.decode()
    assert 'srcset="/figures/helpline/queue.svg?dark"' in page
    assert 'alt="The queue, in and out: In 30 days 1 cases came to people and 0 left them.' in page
    assert page.count("<table>") == 1
    part = desk.get("/figures/", headers={"HX-Request": "true"}).content.decode()
    assert "<html" not in part
    assert "The queue, in and out" in part


def test_a_curve_of_one_point_is_told_and_not_drawn(helpline, signed_in) -> None:
    def figure(*rows: tuple[object, ...]) -> Figure:
        return Figure("accuracy", "Accuracy", "", ("Version", "Priority"), rows)

    assert [figure(*rows).is_point for rows in ([(1, 0.5)], [(1, 0.5), (2, 0.6)], [(1, None)])] == [True, False, False]
    assert figure((1, None)).is_empty
    version = trained_version(helpline)
    snapshot = snapshots.take(version.schema_version)
    heads = {"priority": {"n": 20, "accuracy": 0.5, "macro_f1": 0.4, "majority": 0.3}}
    Evaluation.objects.create(version=version, snapshot=snapshot, heads=heads)
    page = signed_in(Role.SUPERVISOR).get("/figures/?schema=helpline").content.decode()
    assert "There is one point so far" in page
    assert "accuracy.svg" not in page
