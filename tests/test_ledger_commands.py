"""Promoting, going back and the ledger, from the command line."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.core.management import CommandError
from django.utils import timezone

from tests.conftest import trained_version
from tests.test_commands import run
from webapp.actions import snapshots
from webapp.models import Evaluation, Promotion, Schema
from webapp.queries import schemas
from webapp.roles import Role

BY = ("--by", "admin", "--reason", "it was looked at")


@pytest.fixture
def two(helpline, person) -> Schema:
    """Version 1 in use, and version 2, which the gate refuses."""
    person(Role.ADMIN)
    champion, challenger = trained_version(helpline, 1), trained_version(helpline, 2)
    run("promote", "helpline", 1, *BY)
    snapshot = snapshots.take(helpline.versions.get())
    gate = {"verdict": "refused", "sentence": "Refused: so and so."}
    Evaluation.objects.create(version=challenger, snapshot=snapshot, heads={}, compared_with=champion, gate=gate)
    return helpline


def test_a_version_is_put_in_use_against_the_gate_only_by_who_says_so(two) -> None:
    with pytest.raises(CommandError, match=r"^Refused: so and so\. Only a person who overrides"):
        run("promote", "helpline", 2, *BY)
    out, _ = run("promote", "helpline", 2, *BY, "--override")
    assert out == ["Refused: so and so.", "Version 2 of Child helpline calls is in use."]
    assert Promotion.objects.latest("pk").promoted_by.username == "admin"


def test_one_command_goes_back(two) -> None:
    run("promote", "helpline", 2, *BY, "--override")
    assert run("roll_back", "helpline", *BY)[0] == ["Version 1 of Child helpline calls is in use again."]
    assert schemas.champion(two).number == 1
    with pytest.raises(CommandError, match=r"^No version was in use before version 1\.$"):
        run("roll_back", "helpline", *BY)


def test_the_ledger_is_printed_for_people_and_for_programs(two) -> None:
    run("promote", "helpline", 2, *BY, "--override")
    lines, _ = run("ledger", "helpline")
    assert [line.split(":")[0] for line in lines] == ["version 2", "version 1"]
    began = timezone.localtime(Promotion.objects.latest("pk").promoted_at)
    assert f"from {began:%Y-%m-%d %H:%M} EAT on" in lines[0]
    assert began.utcoffset() == timedelta(hours=3)
    assert lines[0].endswith("on; put in use by admin: it was looked at")
    second, first = (json.loads(line) for line in run("ledger", "helpline", "--json")[0])
    assert (second["version"], second["until"], second["replaced"], first["until"]) == (2, None, 1, second["from"])
    assert (second["report"]["gate"]["sentence"], second["report"]["is_overridden"]) == ("Refused: so and so.", True)
    assert run("ledger", "helpline", "--at", first["from"])[0] == [lines[1]]
    assert run("ledger", "helpline", "--at", "2020-01-01")[0] == []


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("promote", "helpline", 9, *BY), "Child helpline calls has no version 9"),
        (("promote", "weather", 1, *BY), "schema is 'weather'; expected one of "),
        (("promote", "helpline", 1, "--by", "nobody", "--reason", "why not"), "nobody is no admin; expected the name"),
        (("roll_back", "customer", *BY), "No version of Customer messages is in use."),
        (("ledger", "helpline", "--at", "yesterday"), "--at is 'yesterday'; expected a time such as"),
        (("ledger", "helpline", "--at", "2026-13-01T00:00"), "--at is '2026-13-01T00:00'; expected a time"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(two, command, message) -> None:
    with pytest.raises(CommandError) as refused:
        run(*command)
    assert message in str(refused.value)
