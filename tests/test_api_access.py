"""Who may call what of the API: every operation, with every token and with none."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from tests.calling import call, token
from webapp.actions import intake, people, tokens
from webapp.api import v1
from webapp.errors import NotIssuable
from webapp.models import AuditEvent, Case, Scope, Token
from webapp.roles import Role

# Which scope opens what; a new operation fails the walk until it is listed here
OPERATIONS = {
    ("POST", "/cases"): Scope.WRITE,
    ("GET", "/cases/{int:pk}"): Scope.READ,
    ("POST", "/cases/search"): Scope.READ,
    ("POST", "/cases/{int:pk}/withdraw"): Scope.WRITE,
    ("POST", "/predict"): Scope.PREDICT,
    ("POST", "/corrections"): Scope.CORRECT,
}
BODIES: dict[str, Any] = {
    "/cases": {"schema": "helpline", "cases": [{"text": "She is hungry."}]},
    "/cases/search": {},
    "/corrections": {"corrections": [{"external_id": "1", "labels": {"priority": "1"}}]},
    "/predict": {"schema": "helpline", "texts": ["She is hungry."]},
}


def operations() -> Iterator[tuple[str, str]]:
    for _prefix, router in v1.api._routers:
        for path, view in router.path_operations.items():
            for operation in view.operations:
                yield from ((method, path) for method in operation.methods)


def test_every_operation_is_listed_with_its_scope() -> None:
    assert set(operations()) == set(OPERATIONS)


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=lambda part: part.strip("/"))
def test_an_operation_takes_a_good_token_of_its_scope_and_source(method, path, helpline, sent) -> None:
    (received,) = intake.receive(helpline, [{"text": "She is hungry."}], source="pipeline", by=None)
    address, body = path.replace("{int:pk}", str(received.case.pk)), BODIES.get(path)
    for bad in (None, "", "caseloop_x", "\u00a7"):
        answer = call(method, address, bad, body)
        assert (answer.status_code, answer["WWW-Authenticate"]) == (401, 'Bearer realm="Caseloop"')
    scope = OPERATIONS[method, path]
    others = token(*[other for other in Scope if other != scope])
    assert call(method, address, others, body).status_code == 403
    good = 503 if path == "/predict" else 200  # Nothing is trained here
    assert call(method, address, token(scope), body).status_code == good
    expected = 404 if "{" in path else good
    assert call(method, address, token(scope, name="another service"), body).status_code == expected


def test_a_token_that_ended_was_revoked_or_whose_person_left_opens_nothing(person, db) -> None:
    user = person(Role.ADMIN)
    secret = token(Scope.READ, user=user)
    assert call("POST", "/cases/search", secret, {}).status_code == 200
    people.deactivate(user, by=None)
    assert call("POST", "/cases/search", secret, {}).status_code == 401
    secret = token(Scope.READ)
    tokens.revoke(Token.objects.get(user=None), by=None)
    assert call("POST", "/cases/search", secret, {}).status_code == 401
    secret = token(Scope.READ, name="old")
    Token.objects.filter(name="old").update(expires_at=timezone.now() - timedelta(seconds=1))
    assert call("POST", "/cases/search", secret, {}).status_code == 401


def test_a_token_opens_no_more_than_the_role_of_its_person_does_now(person) -> None:
    with pytest.raises(NotIssuable, match="the role of supervisor does not allow cases:write"):
        token(Scope.WRITE, user=person(Role.SUPERVISOR))
    admin = person(Role.ADMIN)
    secret = token(Scope.READ, user=admin)
    admin.groups.clear()
    assert call("POST", "/cases/search", secret, {}).status_code == 403


def test_the_secret_is_stored_nowhere_and_its_making_is_logged(db) -> None:
    secret = token(Scope.READ)
    row = Token.objects.get()
    assert secret not in str(Token.objects.values().get())
    assert (len(secret), row.name, row.scopes) == (52, "pipeline", ["cases:read"])
    assert AuditEvent.objects.get().action == "token made"
    assert secret not in str(AuditEvent.objects.get().facts)


def test_use_is_noted_to_the_minute(db) -> None:
    secret = token(Scope.READ)
    call("POST", "/cases/search", secret, {})
    first = Token.objects.get().last_used_at
    call("POST", "/cases/search", secret, {})
    assert Token.objects.get().last_used_at == first != None  # noqa: E711 - both in one


def test_who_calls_too_often_waits_and_nobody_else_does(db, settings) -> None:
    settings.API_REQUESTS_PER_MINUTE = 2
    secret, other = token(Scope.READ), token(Scope.READ, name="other")
    found = [call("POST", "/cases/search", secret, {}) for _ in range(4)]
    assert sum(one.status_code == 429 for one in found) >= 1, "the minute may end meanwhile"
    refused = next(one for one in found if one.status_code == 429)
    assert 0 < int(refused["Retry-After"]) <= 60
    assert call("POST", "/cases/search", other, {}).status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        pytest.param("{", 400, "Cannot parse request body", id="no JSON"),
        pytest.param("[" * 5000, 400, "Cannot parse request body", id="a bomb"),
        pytest.param('{"a":' * 30 + "1" + "}" * 30, 400, "nested more than 20 levels", id="too deep"),
        pytest.param({"limit": 0}, 422, "not as declared", id="out of range"),
        pytest.param({"limit": True}, 422, "not as declared", id="true is no number"),
        pytest.param({"limit": "7"}, 422, "not as declared", id="a text is no number"),
        pytest.param({"cheese": "Amina"}, 422, "not as declared", id="unknown field"),
        pytest.param({"words": "x" * 6_000_000}, 413, "too large", id="too large"),
        pytest.param({"schema": "no\0ne"}, 404, "no such label schema", id="no schema"),
    ],
)
def test_what_is_no_request_is_refused_in_words_that_quote_nothing(helpline, body, status, words) -> None:
    answer = call("POST", "/cases/search", token(Scope.READ), body)
    assert (answer.status_code, words in answer.json()["detail"]) == (status, True), answer.content[:300]
    assert "Amina" not in answer.content.decode()


def test_a_whole_number_may_be_written_with_a_point(db) -> None:
    assert call("POST", "/cases/search", token(Scope.READ), {"limit": 7.0, "after": 0.0}).status_code == 200


def test_what_is_not_there_is_told_to_programs_as_json_and_to_people_as_a_page(db) -> None:
    for path in ("/cases/-1", "/cases/%0A", "/nothing"):
        answer = call("GET", path, token(Scope.READ))
        assert (answer.status_code, answer["Content-Type"]) == (404, "application/json")
        assert answer.json() == {"detail": "there is no such thing, or it is not yours", "faults": []}
    for headers in ({"Accept": "text/html,*/*"}, {"HX-Request": "true"}):
        assert Client().get("/nothing", headers=headers)["Content-Type"].startswith("text/html")


def test_the_page_of_the_api_is_for_people_who_signed_in_and_runs_under_our_policy(signed_in) -> None:
    assert Client().get("/api/v1/")["Location"].startswith("/sign-in/")
    assert Client().get("/api/v1/openapi.json")["Location"].startswith("/sign-in/")
    desk = signed_in(Role.SUPERVISOR)
    page = desk.get("/api/v1/").content.decode()
    assert "swagger-ui-bundle.js" in page
    assert 'type="application/json"' in page
    assert "https://" not in page, "nothing comes from elsewhere"
    described = desk.get("/api/v1/openapi.json").json()
    assert described["paths"]["/api/v1/cases"]["post"]["security"] == [{"TokenAuth": []}]


def test_the_commands_make_list_and_end_a_token(db, person) -> None:
    out = StringIO()
    call_command("create_token", "pipeline", "--scopes", "cases:read,predict", stdout=out)
    secret = out.getvalue().strip()
    assert call("POST", "/cases/search", secret, {}).status_code == 200
    out = StringIO()
    call_command("revoke_token", stdout=out)
    number = Token.objects.get().pk
    assert out.getvalue() == f"{number} pipeline, of the service, cases:read predict\n"
    call_command("revoke_token", str(number))
    assert call("POST", "/cases/search", secret, {}).status_code == 401
    with pytest.raises(CommandError, match="there is no scope everything; expected some of cases:read"):
        call_command("create_token", "x", "--scopes", "everything")
    with pytest.raises(CommandError, match="there is no person nobody"):
        call_command("create_token", "x", "--scopes", "predict", "--user", "nobody")
    with pytest.raises(CommandError, match="would end in 0 days; expected 1 to 366"):
        call_command("create_token", "x", "--scopes", "predict", "--days", "0")


def test_no_case_of_another_source_is_found(helpline, sent) -> None:
    for source in ("pipeline", "another"):
        intake.receive(helpline, [{"id": "1", "text": f"She is hungry, says {source}."}], source=source, by=None)
    found = call("POST", "/cases/search", token(Scope.READ), {"external_ids": ["1"]}).json()["cases"]
    assert [case["source"] for case in found] == ["pipeline"] != list(Case.objects.values_list("source", flat=True))
