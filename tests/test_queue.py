"""The lists of cases."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from ml.policy import FlagKind
from tests.conftest import case_named, change_policy, helpline_prediction, ids, listing, predict, trained_version
from webapp.actions import flags, leases
from webapp.models import Case, CaseState, Schema
from webapp.queries import queue
from webapp.roles import Role


@pytest.fixture
def cases(helpline, import_rows):
    """Five cases in review; d comes first, a last, and b, c and e have the same rank."""
    import_rows(helpline, *({"id": name, "text": name} for name in "abcde"))
    for name, rank in {"a": -3.5, "b": 1.1, "c": 1.1, "d": 7.25, "e": 1.1}.items():
        Case.objects.filter(external_id=name).update(state=CaseState.REVIEW, rank=rank)
    return helpline


def test_cases_of_one_state_are_listed_most_harm_first(cases) -> None:
    Case.objects.filter(external_id="c").update(state=CaseState.DECIDED)
    page = listing()
    assert (ids(page), page.total, page.next_key) == (["d", "b", "e", "a"], 4, "")
    assert ids(listing(state="decided")) == ["c"]


def test_pages_follow_each_other_without_a_gap_or_a_repetition(cases, monkeypatch) -> None:
    monkeypatch.setattr(queue, "PAGE", 2)
    first = listing()
    second = listing(after=first.next_key)
    third = listing(after=second.next_key)
    assert [ids(page) for page in (first, second, third)] == [["d", "b"], ["c", "e"], ["a"]]
    assert (first.total, third.next_key) == (5, "")


@pytest.mark.parametrize("key", ["", "x", "1_", "_1", "1_x", "nan_1_2"])
def test_a_key_that_cannot_be_read_gives_the_first_page(cases, key) -> None:
    assert ids(listing(after=key)) == ["d", "b", "c", "e", "a"]


@pytest.mark.parametrize("key", ["nan_1", "inf_1", "-inf_1", f"1.1_{10**30}"])
def test_a_key_with_impossible_numbers_is_no_error(cases, signed_in, key) -> None:
    assert signed_in(Role.SUPERVISOR).get("/queue/", {"after": key}).status_code == 200


def test_a_list_can_be_limited_to_one_schema(cases, import_rows) -> None:
    customer = Schema.objects.get(name="customer")
    import_rows(customer, {"id": "m", "text": "m"})
    Case.objects.filter(external_id="m").update(state=CaseState.REVIEW)
    page = listing(schema="customer")
    assert (ids(page), page.total) == (["m"], 1)


def test_a_row_says_why_the_case_is_there_and_what_the_model_would_answer(helpline, import_rows) -> None:
    import_rows(helpline, {"id": "1", "text": "a"})
    predict(trained_version(helpline), "1", helpline_prediction(sure=0.62, urgent=0.31))
    Case.objects.update(received_at=timezone.now() - timedelta(hours=9))
    (row,) = listing().rows
    assert row.reason == (
        "urgent 31%; 62/38 between Violence, abuse, neglect and exploitation and Gender-based violence; "
        "62/38 between Child neglect and Physical abuse; 62/31 between 2 Urgent and 1 Critical"
    )
    assert row.answers == ("Violence, abuse, neglect and exploitation", "Child neglect", "2 Urgent")
    assert row.age == "9 h old"


def test_a_row_names_who_holds_the_case_until_the_lease_ends(cases, person) -> None:
    leases.take_next(person(Role.SUPERVISOR, "halima"))
    assert [row.held for row in listing().rows] == ["with halima, 15 min left", "", "", "", ""]
    Case.objects.filter(external_id="d").update(held_until=timezone.now() + timedelta(seconds=61))
    assert listing(User.objects.get(username="halima")).rows[0].held == "with you, 2 min left"
    Case.objects.filter(external_id="d").update(held_until=timezone.now())
    assert listing().rows[0].held == ""


def test_a_row_of_an_audited_case_tells_nothing_of_what_the_model_said(helpline, import_rows) -> None:
    change_policy(helpline, audit_share=1.0)
    import_rows(helpline, {"id": "1", "text": "a"})
    predict(trained_version(helpline), "1", helpline_prediction(sure=0.62, urgent=0.5))
    flags.raise_flag(case_named("1"), FlagKind.DISAGREEMENT, head="priority")
    (row,) = listing().rows
    assert (row.reason, row.answers) == (
        "annotators disagree on priority; audit: answered without the model",
        (),
    )


def test_a_page_costs_the_same_number_of_queries_however_many_cases(cases, django_assert_num_queries) -> None:
    for name in "abcde":
        flags.raise_flag(case_named(name), FlagKind.ESCALATION)
    reader = User.objects.get(username=listing() and "reader")
    with django_assert_num_queries(5):  # The reader's roles, the count, the cases, their flags, the schema version
        listing(reader)


def test_the_page_of_another_state_is_chosen_by_its_address(cases, signed_in) -> None:
    Case.objects.filter(external_id="c").update(state=CaseState.ACCEPTED)
    client = signed_in(Role.ADMIN)
    assert ids(client.get("/queue/?state=accepted").context["page"]) == ["c"]
    assert ids(client.get("/queue/?state=nonsense&schema=none").context["page"]) == ["d", "b", "e", "a"]
