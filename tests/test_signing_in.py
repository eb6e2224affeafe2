"""What the audit log keeps of signing in and out."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django_otp.plugins.otp_totp.models import TOTPDevice

from tests.test_second_factor import PASSWORD, code_of
from webapp.actions import second_factor
from webapp.models import AuditEvent
from webapp.roles import Role


@pytest.fixture
def amina(person) -> User:
    return person(Role.SUPERVISOR, "amina")


def told() -> list[tuple[str | None, str, str, dict[str, Any]]]:
    rows = AuditEvent.objects.filter(action__startswith="sign").order_by("pk")
    return [(row.actor and row.actor.username, row.action, row.subject, row.facts) for row in rows]


def enter(client: Client, name: str = "amina", password: str = PASSWORD) -> int:
    return client.post("/sign-in/", {"username": name, "password": password}).status_code


def test_who_signs_in_and_out_is_a_line_each(amina) -> None:
    client, subject = Client(), f"person {amina.pk}"
    assert enter(client) == 302
    client.post("/sign-out/")
    client.post("/sign-out/")
    assert told() == [
        ("amina", "signed in", subject, {"by": "password"}),
        ("amina", "signed out", subject, {}),
    ]


def test_a_failed_try_names_whom_it_was_for_only_if_there_is_such_a_person(amina) -> None:
    client = Client()
    for name, password in (("amina", "a-secret-word"), ("a-secret-word", PASSWORD), ("", ""), ("amina", "")):
        assert enter(client, name, password) == 200
    assert told() == [
        (None, "sign-in failed", f"person {amina.pk}", {}),
    ]
    assert "a-secret-word" not in str(list(AuditEvent.objects.values()))


def test_tries_of_somebody_who_is_locked_out_fill_no_log(amina, settings) -> None:
    for _ in range(settings.AXES_FAILURE_LIMIT + 5):
        enter(Client(), "amina", "wrong")
    assert len(told()) <= settings.AXES_FAILURE_LIMIT


def test_with_a_code_it_counts_once_the_code_is_right(amina) -> None:
    second_factor.begin(amina)
    second_factor.confirm(amina, code_of(amina))
    TOTPDevice.objects.update(last_t=-1)
    client, subject = Client(), f"person {amina.pk}"
    enter(client)
    assert told() == []
    client.post("/sign-in/code/", {"code": code_of(amina, wrong=True)})
    TOTPDevice.objects.update(throttling_failure_count=0)
    client.post("/sign-in/code/", {"code": code_of(amina)})
    assert told() == [
        (None, "sign-in failed", subject, {}),
        ("amina", "signed in", subject, {"by": "password and code"}),
    ]
