"""Cases in, answers out."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection

from ml.policy import FlagKind
from tests.calling import call, token
from tests.conftest import case_named, change_policy, helpline_prediction, predict, submission, trained_version
from webapp.actions import promotions, reviews, submissions
from webapp.api.schemas import SearchIn
from webapp.models import AuditEvent, Case, Conversation, Scope
from webapp.roles import Role

TEXT = "She is hungry, says Amina."


@pytest.fixture
def secret(helpline: Any, sent: Any) -> str:
    return token(Scope.READ, Scope.WRITE, name="pipeline")


def post(secret: str, *items: Any, schema: str = "helpline", **headers: str) -> list[dict[str, Any]]:
    answer = call("POST", "/cases", secret, {"schema": schema, "cases": items}, **headers)
    assert answer.status_code == 200, answer.content
    return answer.json()["results"]


def read(secret: str, external_id: str) -> dict[str, Any]:
    return call("GET", f"/cases/{case_named(external_id).pk}", secret).json()


def test_a_case_is_created_once_and_predicted_by_a_worker(secret, sent, django_capture_on_commit_callbacks) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        first = post(secret, {"external_id": "1", "text": TEXT, "metadata": {"county": "Nyeri"}})
    case = case_named("1")
    assert first == [{"status": "created", "id": case.pk, "external_id": "1", "problems": []}]
    assert sent == [("predict_cases", case.schema_id)]
    assert (case.source, case.stored_text.text, case.metadata) == ("pipeline", TEXT, {"county": "Nyeri"})
    assert post(secret, {"external_id": "1", "text": TEXT}) == [first[0] | {"status": "known"}]
    assert AuditEvent.objects.filter(action="cases received").count() == 1


def test_good_items_are_kept_when_others_are_refused(secret) -> None:
    post(secret, {"external_id": "old", "text": TEXT})
    found = post(
        secret,
        {"external_id": "1", "text": TEXT},
        {"external_id": "2"},
        {"external_id": "3", "text": " \u0000 "},
        {"external_id": "old", "text": "Another."},
        {"external_id": "4", "text": TEXT, "txet": "Amina"},
        {"external_id": "1", "text": "Another within the same request."},
        {"external_id": "5", "text": TEXT, "sent_at": "yesterday"},
        {"external_id": "6", "text": TEXT, "conversation": "c", "sent_at": "2026-03-01T12:00:00+03:00"},
    )
    assert [one["status"] for one in found] == [
        "created", "refused", "refused", "refused", "refused", "refused", "refused", "created",
    ]  # fmt: skip
    assert [one["problems"] for one in found][1:6] == [
        ["text: Field required"],
        ["text is empty; expected the text of the case"],
        ["the external id is known with another text"],
        ["txet: Extra inputs are not permitted"],
        ["the external id is known with another text"],
    ]
    assert set(Case.objects.values_list("external_id", flat=True)) == {"old", "1", "6"}
    assert case_named("6").sent_at.isoformat() == "2026-03-01T09:00:00+00:00"


def test_an_idempotency_key_stands_for_the_ids_that_items_lack(secret) -> None:
    items = [{"text": "a"}, {"text": "a"}, {"external_id": "3", "text": "a"}]
    key = {"Idempotency-Key": "nightly 17"}
    first = post(secret, *items, **key)
    again = post(secret, *items, **key)
    assert [one["status"] for one in first + again] == ["created"] * 3 + ["known"] * 3
    assert [one["id"] for one in first] == [one["id"] for one in again]
    other = post(secret, {"text": "b"}, **key)
    assert (other[0]["status"], Case.objects.count()) == ("refused", 3)
    post(secret, *items)
    assert Case.objects.count() == 5, "without a key each call is another"


def test_a_case_of_another_schema_is_refused(secret) -> None:
    post(secret, {"external_id": "1", "text": TEXT})
    (refused,) = post(secret, {"external_id": "1", "text": TEXT}, schema="customer")
    assert refused["problems"] == ["the external id is known as a case of another schema"]


def test_labels_do_not_hide_in_metadata(secret) -> None:
    post(secret, {"external_id": "1", "text": TEXT, "metadata": {"priority": "1", "county": "Nyeri"}})
    assert case_named("1").metadata == {"county": "Nyeri"}


def test_the_answer_says_what_was_predicted_by_which_version_and_where_it_went(secret, helpline) -> None:
    post(secret, {"external_id": "1", "text": TEXT})
    assert read(secret, "1")["prediction"] is None
    promotions.promote(version := trained_version(helpline), by=None, reason="the first")
    predict(version, "1", helpline_prediction(sure=0.6))
    answer = read(secret, "1")
    assert (answer["state"], answer["prediction"]["version"]) == ("labelling", "version 1")
    assert answer["prediction"]["heads"]["main_category"] == {
        "answer": "VANE", "confidence": 0.6, "probabilities": {"VANE": 0.6, "GBV": 0.4}, "words": None,
    }  # fmt: skip
    assert {"kind": "low_confidence", "head": "main_category"} in answer["flags"]
    assert "Amina" not in str(answer)


def test_labels_say_in_which_role_they_were_decided_and_never_by_whom(secret, helpline, person) -> None:
    post(secret, {"external_id": "1", "text": TEXT})
    case = predict(trained_version(helpline), "1", helpline_prediction(sure=0.6))
    submissions.record(case, submission(helpline, "Wanjiru", {"priority": "2"}))
    assert read(secret, "1")["labels"]["priority"]["decided_by"] == "annotator"
    supervisor = person(Role.SUPERVISOR, "otieno")
    reviews.decide(case_named("1"), supervisor, answers={"priority": "1"}, revision=1)
    label = read(secret, "1")["labels"]["priority"]
    assert (label["answer"], label["rule"], label["decided_by"]) == ("1", "review", "supervisor")
    assert "otieno" not in str(read(secret, "1"))
    assert read(secret, "1")["state"] == "decided"


def test_a_person_hears_nothing_of_a_case_that_is_audited_blind_and_a_service_does(secret, helpline, person) -> None:
    change_policy(helpline, audit_share=1.0)
    post(secret, {"external_id": "1", "text": TEXT})
    predict(trained_version(helpline), "1", helpline_prediction(sure=0.6, urgent=0.5))
    theirs = read(token(Scope.READ, user=person(Role.SUPERVISOR)), "1")
    assert (theirs["is_blind"], theirs["prediction"], theirs["flags"]) == (
        True,
        None,
        [{"kind": "audit", "head": None}],
    )
    assert read(secret, "1")["prediction"]["heads"]["main_category"]["answer"] == "VANE"


def test_search_finds_by_words_state_and_conversation_page_by_page(secret) -> None:
    post(
        secret, *({"external_id": str(n), "text": f"Text {n} of Amina", "conversation": f"c{n % 2}"} for n in range(5))
    )

    def ids(**limits: Any) -> list[str]:
        answer = call("POST", "/cases/search", secret, limits)
        assert answer.status_code == 200
        return [case["external_id"] for case in answer.json()["cases"]]

    assert ids() == ["0", "1", "2", "3", "4"]
    assert ids(conversation="c1") == ["1", "3"]
    assert ids(words="amin 3") == ["3"]
    assert ids(words="!") == []
    assert ids(state="decided") == []
    assert ids(schema="customer") == []
    assert ids(external_ids=["4", "x", "\u0000"]) == ["4"]
    first = call("POST", "/cases/search", secret, {"limit": 3}).json()
    assert [case["external_id"] for case in first["cases"]] == ["0", "1", "2"]
    assert ids(after=first["after"]) == ["3", "4"]
    assert call("POST", "/cases/search", secret, {"limit": 5}).json()["after"] is None
    assert Conversation.objects.count() == 2


def test_a_withdrawn_case_leaves_the_desk_and_stays_away(secret, helpline) -> None:
    post(secret, {"external_id": "1", "text": TEXT})
    case = predict(trained_version(helpline), "1", helpline_prediction(sure=0.6))
    assert case.flags.filter(resolved_at=None).exists()
    for _ in range(2):
        answer = call("POST", f"/cases/{case.pk}/withdraw", secret)
        assert (answer.status_code, answer.json()["state"], answer.json()["flags"]) == (200, "withdrawn", [])
    predict(trained_version(helpline, 2), "1", helpline_prediction(sure=0.5))
    submissions.record(case, submission(helpline, "Wanjiru", {"priority": "2"}))
    assert read(secret, "1")["state"] == "withdrawn"
    assert AuditEvent.objects.filter(action="case withdrawn").count() == 1
    assert post(secret, {"external_id": "1", "text": TEXT})[0]["status"] == "known"
    assert not case.flags.filter(kind=FlagKind.ESCALATION).exists()


@pytest.mark.django_db(transaction=True)
def test_two_requests_at_once_with_the_same_cases_create_each_once(sent, transactional_db) -> None:
    from webapp.actions import schemas

    schemas.register_shipped()
    secret = token(Scope.WRITE)
    items = [{"external_id": str(n), "text": TEXT, "conversation": "c"} for n in range(40)]

    def send(turn: int) -> list[str]:
        try:
            return [one["status"] for one in post(secret, *(items if turn % 2 else items[::-1]))]
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        found = [status for statuses in pool.map(send, range(8)) for status in statuses]
    assert (Case.objects.count(), found.count("created"), found.count("known")) == (40, 40, 280)


def test_the_least_number_of_a_row_is_declared() -> None:
    found = SearchIn.model_json_schema()["properties"]["after"]
    assert (found["type"], found["minimum"], found["exclusiveMaximum"]) == ("integer", 0, 2**63)
