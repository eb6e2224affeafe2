"""Who was shown which case."""

from __future__ import annotations

import pytest

from tests.conftest import case_named, helpline_prediction, predict, trained_version
from webapp.actions import leases
from webapp.models import Case, Sighting
from webapp.roles import Role


@pytest.fixture
def case(helpline, import_rows) -> Case:
    import_rows(helpline, {"id": "1", "text": "a"})
    return predict(trained_version(helpline), "1", helpline_prediction(urgent=0.5))


def seen() -> list[tuple[str, int]]:
    return list(Sighting.objects.order_by("pk").values_list("person__username", "case"))


def test_each_time_a_case_is_shown_is_recorded(case, signed_in) -> None:
    for role in (Role.SUPERVISOR, Role.ADMIN):
        signed_in(role).get(f"/cases/{case.pk}/")
    assert seen() == [("supervisor", case.pk), ("admin", case.pk)]


def test_a_form_that_comes_back_with_its_case_is_a_sighting_too(case, signed_in) -> None:
    signed_in(Role.SUPERVISOR).post(f"/cases/{case.pk}/", {"revision": "0"})
    assert seen() == [("supervisor", case.pk)]


def test_who_may_not_see_a_case_did_not(case, signed_in) -> None:
    signed_in(Role.ANNOTATOR).get(f"/cases/{case.pk}/")
    assert seen() == []


def test_neither_holding_a_case_nor_seeing_it_in_a_list_is_a_sighting(case, signed_in, person) -> None:
    desk = signed_in(Role.SUPERVISOR)
    leases.take_next(person(Role.SUPERVISOR, "juma"))
    desk.get("/queue/")
    desk.get(f"/cases/{case.pk}/hold/")
    assert seen() == []
    assert case_named("1").held_by.get_username() == "juma"
