"""Who works on a case, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from tests.conftest import case_named, change_policy, helpline_prediction, predict, trained_version
from webapp import checks
from webapp.actions import leases, people, schemas
from webapp.models import Case, CaseState, Schema
from webapp.roles import Role


@pytest.fixture
def in_review(helpline, import_rows):
    """Three cases in review; by rank they are c, a, b."""
    import_rows(helpline, *({"id": name, "text": name} for name in "abc"))
    Case.objects.update(received_at=timezone.now())
    version = trained_version(helpline)
    for name, urgent in (("a", 0.5), ("b", 0.2), ("c", 0.9)):
        predict(version, name, helpline_prediction(urgent=urgent))
    return version


def test_the_case_that_matters_most_comes_first(in_review, person) -> None:
    taken = [leases.take_next(person(Role.SUPERVISOR, name)).external_id for name in ("first", "second", "third")]
    assert taken == ["c", "a", "b"]
    assert leases.take_next(person(Role.SUPERVISOR, "fourth")) is None


def test_who_holds_a_case_is_given_the_same_one_again(in_review, person) -> None:
    supervisor = person(Role.SUPERVISOR)
    assert [leases.take_next(supervisor).external_id for _ in range(2)] == ["c", "c"]


def test_only_cases_in_review_are_given(in_review, person) -> None:
    Case.objects.exclude(external_id="b").update(state=CaseState.LABELLING)
    assert leases.take_next(person(Role.SUPERVISOR)).external_id == "b"


def test_a_lease_lasts_a_quarter_of_an_hour(in_review, person) -> None:
    before = timezone.now()
    held = leases.take_next(person(Role.SUPERVISOR, "first"))
    assert before + timedelta(minutes=15) <= held.held_until <= timezone.now() + timedelta(minutes=15)
    Case.objects.filter(pk=held.pk).update(held_until=timezone.now() - timedelta(seconds=1))
    assert leases.take_next(person(Role.SUPERVISOR, "second")) == held


def test_who_signs_out_lets_all_their_cases_go_and_nobody_elses(in_review, person, signed_in) -> None:
    desk, other = signed_in(Role.SUPERVISOR, "first"), signed_in(Role.SUPERVISOR, "second")
    for name, client in (("a", desk), ("b", other), ("c", desk)):
        client.get(f"/cases/{case_named(name).pk}/")
    assert Case.objects.exclude(held_by=None).count() == 3
    desk.post("/sign-out/")
    assert [case.external_id for case in Case.objects.exclude(held_by=None)] == ["b"]


def test_a_page_that_is_left_keeps_its_case_for_seconds_unless_it_was_loaded_again(in_review, signed_in) -> None:
    desk, case = signed_in(Role.SUPERVISOR, "first"), case_named("c")
    address = f"/cases/{case.pk}/"

    def minutes_left() -> float:
        return round((case_named("c").held_until - timezone.now()).total_seconds() / 60, 1)

    first = desk.get(address).context["until"]
    again = desk.get(address).context["until"]
    for late in (first, "", "soon", "2026-03-01T12:00:00", "9" * 400):
        assert desk.post(f"{address}leave/", {"until": late}).status_code == 204
        assert minutes_left() == 15, late
    signed_in(Role.SUPERVISOR, "second").post(f"{address}leave/", {"until": again})
    assert minutes_left() == 15
    desk.post(f"{address}leave/", {"until": again})
    assert (minutes_left(), case_named("c").held_by.get_username()) == (0.2, "first")
    assert desk.get(f"{address}hold/").context["until"] == case_named("c").held_until.isoformat()
    until = desk.get(address).context["until"]
    desk.post(f"{address}draft/", {"revision": case.revision, "note": "kept"})
    desk.post(f"{address}leave/", {"until": until})
    assert minutes_left() == 15, "what is typed holds the case"


def test_a_case_that_is_let_go_can_be_taken_by_another(in_review, person) -> None:
    first, second = person(Role.SUPERVISOR, "first"), person(Role.SUPERVISOR, "second")
    held = leases.take_next(first)
    leases.release(held, second)  # It is not theirs to let go
    assert leases.take_next(second) != held
    leases.release(held, first)
    found = case_named(held.external_id)
    assert (found.held_by, found.held_until) == (None, None)


def test_a_case_that_somebody_else_holds_cannot_be_taken(in_review, person) -> None:
    first, second = person(Role.SUPERVISOR, "first"), person(Role.SUPERVISOR, "second")
    assert leases.take(case_named("a"), first) is True
    assert leases.take(case_named("a"), second) is False
    assert case_named("a").held_by == first


def test_a_decided_case_cannot_be_taken(in_review, person) -> None:
    Case.objects.update(state=CaseState.DECIDED)
    assert leases.take(case_named("a"), person(Role.SUPERVISOR)) is False
    assert case_named("a").held_by is None


@pytest.fixture
def at_once(transactional_db: None, import_rows, sent) -> Callable[..., list[Any]]:
    """Have four supervisors do something at the same moment, with six cases in review; return what each got."""
    schemas.register_shipped()
    helpline = Schema.objects.get(name="helpline")
    change_policy(helpline, audit_share=0.0)
    import_rows(helpline, *({"id": str(n), "text": str(n)} for n in range(6)))
    Case.objects.update(state=CaseState.REVIEW)

    def run(action: Callable[[User], Any]) -> list[Any]:
        users = [
            people.create(f"s{n}", email=f"s{n}@example.org", password="a-long-password", role=Role.SUPERVISOR)
            for n in range(4)
        ]
        start = Barrier(len(users))

        def act(user: User) -> Any:
            try:
                start.wait(5)
                return action(user)
            finally:
                connection.close()

        with ThreadPoolExecutor(len(users)) as threads:
            return list(threads.map(act, users))

    return run


def holders() -> dict[str, str]:
    held = Case.objects.exclude(held_by=None).filter(held_until__gt=timezone.now())
    return dict(held.values_list("held_by__username", "external_id"))


@pytest.mark.parametrize("were_held", [False, True], ids=["free", "leases that ran out"])
def test_supervisors_who_take_the_next_case_at_once_never_get_the_same(at_once, person, were_held) -> None:
    if were_held:
        Case.objects.update(held_by=person(Role.SUPERVISOR), held_until=timezone.now() - timedelta(seconds=1))
    taken = [case and case.external_id for case in at_once(leases.take_next)]
    assert None not in taken
    assert len(set(taken)) == 4
    assert holders() == {f"s{n}": case for n, case in enumerate(taken)}


def test_of_supervisors_who_open_one_case_at_once_one_holds_it(at_once) -> None:
    got = at_once(lambda user: leases.take(case_named("3"), user))
    assert sorted(got) == [False, False, False, True]
    assert holders() == {f"s{got.index(True)}": "3"}


def test_the_last_case_is_given_to_one(at_once) -> None:
    Case.objects.exclude(external_id="3").update(state=CaseState.DECIDED)
    taken = [case and case.external_id for case in at_once(leases.take_next)]
    assert sorted(taken, key=str) == ["3", None, None, None]


# --- On the page -----------------------------------------------------------------------------------------------------


def test_work_on_a_case_extends_its_lease_and_looking_does_not(in_review, signed_in) -> None:
    desk = signed_in(Role.SUPERVISOR, "halima")
    case = case_named("a")
    desk.get(f"/cases/{case.pk}/")
    Case.objects.update(held_until=timezone.now() + timedelta(minutes=4))
    assert "with you, 4 min left" in desk.get(f"/cases/{case.pk}/hold/").content.decode()
    assert "with you, 15 min left" in desk.post(f"/cases/{case.pk}/hold/").content.decode()


def test_a_lease_that_ran_out_is_told_and_taken_up_again_by_work(in_review, signed_in) -> None:
    desk = signed_in(Role.SUPERVISOR, "halima")
    case = case_named("a")
    desk.get(f"/cases/{case.pk}/")
    Case.objects.update(held_until=timezone.now())
    assert "◆ not held any more: another may take it" in desk.get(f"/cases/{case.pk}/hold/").content.decode()
    assert "with you, 15 min left" in desk.post(f"/cases/{case.pk}/hold/").content.decode()


def test_work_on_a_case_that_another_took_meanwhile_does_not_take_it_back(in_review, signed_in, person) -> None:
    desk = signed_in(Role.SUPERVISOR, "halima")
    case = case_named("a")
    desk.get(f"/cases/{case.pk}/")
    Case.objects.update(held_until=timezone.now())
    leases.take(case, person(Role.SUPERVISOR, "juma"))
    assert "◆ with juma, 15 min left" in desk.post(f"/cases/{case.pk}/hold/").content.decode()
    assert case_named("a").held_by.get_username() == "juma"


def test_work_on_a_decided_case_holds_nothing(in_review, signed_in) -> None:
    Case.objects.update(state=CaseState.DECIDED)
    case = case_named("a")
    assert signed_in(Role.SUPERVISOR).post(f"/cases/{case.pk}/hold/").content.strip() == b""
    assert case_named("a").held_by is None


def test_a_lease_that_ends_before_work_is_told_again_is_refused_at_start(settings) -> None:
    settings.LEASE_MINUTES = 2
    assert checks.leases_outlive_a_turn(None) == []
    settings.LEASE_MINUTES = 1
    assert [(one.id, one.msg) for one in checks.leases_outlive_a_turn(None)] == [
        ("webapp.E003", "LEASE_MINUTES is 1; expected 2 at least")
    ]


def test_the_setting_says_how_long_a_lease_lasts(in_review, person, settings) -> None:
    settings.LEASE_MINUTES = 2
    assert leases.take_next(person(Role.SUPERVISOR)).minutes_left == 2
