"""What the queue can be limited to."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.http import QueryDict
from django.utils import timezone

from ml.policy import FlagKind
from ml.types import HeadPrediction
from tests.conftest import case_named, change_policy, helpline_prediction, ids, listing, predict, trained_version
from webapp.actions import flags, leases, reviews
from webapp.models import Case, CaseState, Schema
from webapp.queries import choices
from webapp.queries.filters import Filters
from webapp.queueform import FilterForm
from webapp.roles import Role

ANSWERS = {"main_category": "VANE", "sub_category": "Child Neglect", "priority": "1"}


@pytest.fixture
def cases(helpline, import_rows):
    """Cases a, b and c in review, the most harm first; b is GBV, c came yesterday from another line."""
    import_rows(helpline, *({"id": name, "text": name, "source": "1195" if name == "c" else "116"} for name in "abc"))
    version = trained_version(helpline)
    predict(version, "a", helpline_prediction(urgent=0.9))
    predict(version, "b", helpline_prediction("GBV", "Child Neglect", sure=0.6, urgent=0.5))
    predict(version, "c", helpline_prediction(sure=0.8, urgent=0.2))
    Case.objects.filter(external_id="c").update(received_at=timezone.now() - timedelta(hours=30))
    flags.raise_flag(case_named("c"), FlagKind.ESCALATION)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        pytest.param({}, ["a", "b", "c"], id="nothing"),
        pytest.param({"flag": "escalation"}, ["c"], id="flag"),
        pytest.param({"head": "sub_category"}, ["b"], id="head in doubt"),
        pytest.param({"head": "priority", "flag": "low_confidence"}, ["a", "b"], id="flag on a head"),
        pytest.param({"label": "main_category:GBV"}, ["b"], id="label"),
        pytest.param({"label": "main_category:VANE", "most": 85}, ["c"], id="label and confidence"),
        pytest.param({"head": "sub_category", "least": 70}, [], id="confidence of the head in doubt"),
        pytest.param({"least": 88, "most": 90}, ["a"], id="confidence of any head"),
        pytest.param({"older": 24}, ["c"], id="age"),
        pytest.param({"source": "116"}, ["a", "b"], id="source"),
        pytest.param({"schema": "customer"}, [], id="schema"),
        pytest.param({"state": "decided"}, [], id="state"),
        pytest.param({"label": "nothing:at all"}, [], id="unknown label"),
    ],
)
def test_the_queue_can_be_limited_by(cases, limits, expected) -> None:
    assert ids(listing(**limits)) == expected


def test_the_queue_can_be_limited_by_who_holds_a_case(cases, person) -> None:
    halima, juma = person(Role.SUPERVISOR, "halima"), person(Role.SUPERVISOR, "juma")
    leases.take(case_named("b"), halima)
    leases.take(case_named("c"), juma)
    Case.objects.filter(external_id="c").update(held_until=timezone.now())
    assert ids(listing(halima, held="me")) == ["b"]
    assert ids(listing(juma, held="me")) == []
    assert ids(listing(juma, held=str(halima.pk))) == ["b"]
    assert ids(listing(juma, held="nobody")) == ["a", "c"]
    assert choices.holders() == [("me", "me"), ("nobody", "nobody"), (str(halima.pk), "halima"), (str(juma.pk), "juma")]


def test_any_state_leaves_out_what_is_erased(cases) -> None:
    Case.objects.filter(external_id="a").update(state=CaseState.ERASED)
    Case.objects.filter(external_id="b").update(state=CaseState.WITHDRAWN)
    assert ids(listing(state="any")) == ["b", "c"]


def test_a_decided_case_is_found_by_the_label_that_stands(cases, person) -> None:
    reviews.decide(case_named("b"), person(Role.SUPERVISOR), answers=ANSWERS, revision=0)
    assert ids(listing(label="main_category:VANE")) == ["a", "c"]
    assert ids(listing(label="main_category:VANE", state="decided")) == ["b"]
    assert ids(listing(label="main_category:VANE", state="any")) == ["a", "b", "c"]
    assert ids(listing(label="main_category:GBV", state="any")) == []


def test_a_label_is_found_among_several(helpline, import_rows) -> None:
    customer = Schema.objects.get(name="customer")
    import_rows(customer, {"id": "m", "text": "m"}, {"id": "n", "text": "n"})
    version = trained_version(customer)
    predict(version, "m", {"tags": HeadPrediction(["Deal-seeker", "Hot-buyer"], 0.5, {})})
    predict(version, "n", {"tags": HeadPrediction(["Deal-seeker"], 0.5, {})})
    Case.objects.update(rank=0)
    assert ids(listing(state="labelling", label="tags:Hot-buyer")) == ["m"]
    assert ids(listing(state="labelling", label="tags:Deal-seeker")) == ["m", "n"]


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        pytest.param({"flag": "low_confidence"}, [], id="what the model is unsure of"),
        pytest.param({"flag": "urgent"}, ["called"], id="what the model calls urgent"),
        pytest.param({"head": "priority"}, ["called"], id="heads in doubt"),
        pytest.param({"label": "main_category:VANE"}, [], id="labels"),
        pytest.param({"least": 0}, [], id="confidence"),
        pytest.param({"flag": "audit"}, ["called", "plain"], id="that they are audits"),
    ],
)
def test_filters_tell_nothing_of_what_the_model_said_of_audited_cases(helpline, import_rows, limits, expected) -> None:
    change_policy(helpline, audit_share=1.0)
    import_rows(helpline, {"id": "plain", "text": "a"}, {"id": "called", "text": "b"})
    version = trained_version(helpline)
    for name in ("plain", "called"):
        predict(version, name, helpline_prediction(sure=0.62, urgent=0.5))
    flags.raise_flag(case_named("called"), FlagKind.URGENT, head="priority", facts={**flags.BY_ANNOTATOR, "label": "1"})
    assert sorted(ids(listing(**limits))) == expected


# --- Addresses -------------------------------------------------------------------------------------------------------


def test_filters_come_back_out_of_their_address(cases, person) -> None:
    halima = person(Role.SUPERVISOR)
    given = Filters(
        "labelling", "helpline", "urgent", "priority", "priority:1", 10, 90, 24, "116", str(halima.pk), 7, "urgent"
    )
    assert FilterForm(QueryDict(given.query)).filters() == given
    assert FilterForm(QueryDict(Filters().query)).filters() == Filters()


@pytest.mark.parametrize(
    "address",
    [
        "state=nonsense&schema=none&flag=x&head=x&label=x&source=x&held=x",
        "least=x&most=101&older=2&search=x",
        "search=99999999999999999999&older=1e9&source=%00&schema=%00",
    ],
)
def test_what_cannot_be_read_limits_nothing(cases, signed_in, address) -> None:
    page = signed_in(Role.SUPERVISOR).get(f"/queue/?{address}")
    assert ids(page.context["page"]) == ["a", "b", "c"]


def test_the_page_shows_what_limits_it_and_how_to_take_that_away(cases, signed_in) -> None:
    page = signed_in(Role.SUPERVISOR).get("/queue/?flag=escalation&older=24&least=5").content.decode()
    for link in (
        'href="?least=5&amp;older=24" aria-label="Take away the filter Flag: escalation"',
        'href="?flag=escalation&amp;least=5" aria-label="Take away the filter Older than: 1 day"',
        'href="?flag=escalation&amp;older=24" aria-label="Take away the filter Confidence from (%): 5"',
        'href="?state=decided&amp;flag=escalation&amp;least=5&amp;older=24"',
    ):
        assert link in page


def test_the_sources_are_all_that_there_are(cases) -> None:
    assert choices.sources() == ["116", "1195"]


def test_no_case_means_no_source(helpline) -> None:
    assert choices.sources() == []
