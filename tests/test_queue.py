"""The lists of cases."""

from __future__ import annotations

from datetime import timedelta
from importlib import import_module

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from ml.policy import FlagKind, Reason
from ml.types import HeadPrediction
from tests.conftest import case_named, change_policy, helpline_prediction, ids, listing, predict, trained_version
from webapp.actions import flags, leases
from webapp.engines.folders import REPOSITORY
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


@pytest.mark.parametrize("key", ["", "x", "0_1_", "0__1", "_1_1", "0_1_x", "1_2", "0_1_2_3"])
def test_a_key_that_cannot_be_read_gives_the_first_page(cases, key) -> None:
    assert ids(listing(after=key)) == ["d", "b", "c", "e", "a"]


@pytest.mark.parametrize("key", ["0_nan_1", "nan_inf_1", "inf_-inf_1", f"0.0_1.1_{10**30}"])
def test_a_key_with_impossible_numbers_is_no_error(cases, signed_in, key) -> None:
    desk = signed_in(Role.SUPERVISOR)
    for order in queue.ORDERS:
        assert desk.get("/queue/", {"after": key, "order": order}).status_code == 200


def test_the_likeliest_urgent_case_can_come_first_and_the_others_follow_by_harm(cases, monkeypatch) -> None:
    for name, probability in {"a": 0.78, "c": 0.2}.items():
        facts = {"probability": probability, "label": "1"}
        flags.replace_by_model({case_named(name).pk: [Reason(FlagKind.URGENT, "priority", facts)]})
    flags.raise_flag(case_named("e"), FlagKind.URGENT, head="priority", facts={**flags.BY_ANNOTATOR, "label": "1"})
    assert ids(listing(order="urgent")) == ["e", "a", "c", "d", "b"]
    assert ids(listing()) == ["d", "b", "c", "e", "a"]
    monkeypatch.setattr(queue, "PAGE", 2)
    first = listing(order="urgent")
    second = listing(order="urgent", after=first.next_key)
    third = listing(order="urgent", after=second.next_key)
    assert [ids(page) for page in (first, second, third)] == [["e", "a"], ["c", "d"], ["b"]]
    flags.resolve_all(case_named("e"))
    flags.replace_by_model({case_named("a").pk: []})
    assert ids(listing(order="urgent"))[0] == "c"
    flags.bring_back(case_named("e"), case_named("e").flags.values_list("pk", flat=True))
    assert ids(listing(order="urgent"))[0] == "e"


def test_cases_that_were_there_before_get_their_place_among_the_urgent(cases) -> None:
    facts = {"probability": 0.78, "label": "1"}
    flags.replace_by_model({case_named(name).pk: [Reason(FlagKind.URGENT, "priority", facts)] for name in "ab"})
    flags.raise_flag(case_named("c"), FlagKind.URGENT, head="priority", facts={**flags.BY_ANNOTATOR, "label": "1"})
    Case.objects.filter(external_id__in="bc").update(is_audit=True)
    Case.objects.update(urgency=0.0)
    (path,) = (REPOSITORY / "migrations").glob("*_order_by_urgency.py")
    with connection.cursor() as cursor:
        cursor.execute(import_module(f"migrations.{path.stem}").WEIGH)
    assert dict(Case.objects.filter(urgency__gt=0).values_list("external_id", "urgency")) == {"a": 0.78, "c": 1.0}


def test_the_place_of_an_audited_case_tells_nothing_of_what_the_model_said(cases) -> None:
    Case.objects.filter(external_id="a").update(is_audit=True)
    said = Reason(FlagKind.URGENT, "priority", {"probability": 0.9, "label": "1"})
    flags.replace_by_model({case_named("a").pk: [said]})
    assert ids(listing(order="urgent")) == ["d", "b", "c", "e", "a"]


def test_the_next_case_is_the_first_of_the_list_that_one_looked_at(cases, signed_in) -> None:
    Case.objects.filter(external_id="a").update(urgency=0.9)
    desk = signed_in(Role.SUPERVISOR)
    page = desk.get("/queue/?order=urgent").content.decode()
    assert '<a class="chip" href="?order=urgent" aria-current="true">Urgent first</a>' in page
    assert "The likeliest urgent case comes first" in page
    assert "Take all filters away" not in page, "an order leaves nothing out"
    assert desk.post("/queue/next/").url == f"/cases/{case_named('a').pk}/"
    assert "Urgent first</a>" not in desk.get("/queue/?order=urgent&state=any").content.decode()
    page = desk.get("/queue/").content.decode()
    assert "Expected harm, most first: how probable each mistake" in page
    assert 'href="/policy/helpline/#costs"' in page
    assert desk.post("/queue/next/").url == f"/cases/{case_named('d').pk}/"


def test_a_row_says_what_its_harm_consists_of(helpline, import_rows) -> None:
    import_rows(helpline, {"id": "1", "text": "a"})
    predict(trained_version(helpline), "1", helpline_prediction(sure=0.62, urgent=0.31))
    (row,) = listing().rows
    assert row.harm == (
        "missed urgency of priority 3.1, wrong main category 0.4, wrong sub-category 0.4, wrong priority 0.1"
    )
    Case.objects.update(is_audit=True)
    assert listing().rows[0].harm == ""
    Case.objects.update(is_audit=False)
    change_policy(helpline, missed_urgent_cost=20.0)
    assert listing().rows[0].harm == "", "the harm is that of an earlier policy"


def test_a_case_that_is_rightly_called_urgent_costs_little_if_the_answer_stands(helpline, import_rows) -> None:
    import_rows(helpline, {"id": "called urgent", "text": "a"}, {"id": "perhaps missed", "text": "b"})
    version = trained_version(helpline)
    called = HeadPrediction("1", 0.78, {"1": 0.78, "2": 0.2, "3": 0.02})
    predict(version, "called urgent", helpline_prediction(sure=0.9) | {"priority": called})
    predict(version, "perhaps missed", helpline_prediction(sure=0.9, urgent=0.3))
    assert ids(listing()) == ["perhaps missed", "called urgent"]
    assert ids(listing(order="urgent")) == ["called urgent", "perhaps missed"]


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
    with django_assert_num_queries(
        6
    ):  # The reader's roles, the count, the cases, their flags, the schema version, policy
        listing(reader)


def test_the_page_of_another_state_is_chosen_by_its_address(cases, signed_in) -> None:
    Case.objects.filter(external_id="c").update(state=CaseState.ACCEPTED)
    client = signed_in(Role.ADMIN)
    assert ids(client.get("/queue/?state=accepted").context["page"]) == ["c"]
    assert ids(client.get("/queue/?state=nonsense&schema=none").context["page"]) == ["d", "b", "e", "a"]
