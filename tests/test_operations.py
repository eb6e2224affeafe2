"""What machines ask of us: probes, measures and the id that a request's log lines share."""

from __future__ import annotations

import json
import logging
import re
import shlex
import shutil
import subprocess
import sys
import uuid
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest
import yaml
from django.core.management import call_command
from django.db import DatabaseError, connection
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import helpline_prediction, predict, trained_version
from webapp.actions import outbox, promotions, tokens
from webapp.engines import programs
from webapp.logs import LineFormatter
from webapp.models import Case, CaseState, Delivery, Event, LabelStudioProject, Outbox, Scope, Subscription
from webapp.queries import loop
from webapp.roles import Role

PRODUCTION = Path(__file__).resolve().parent.parent / "docs" / "examples" / "production"


@pytest.fixture
def scrape(client, db):
    secret = tokens.issue("prometheus", [Scope.METRICS], days=30, by=None)

    def measure() -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        answer = client.get("/metrics", headers={"Authorization": f"Bearer {secret}"})
        assert answer.status_code == 200
        families = text_string_to_metric_families(answer.content.decode())
        return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}

    return measure


def named(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return f"caseloop_{name}", frozenset(labels.items())


def test_prometheus_is_told_of_cases_confidence_flags_and_what_is_live(helpline, case, scrape) -> None:
    version = trained_version(helpline, 2)
    promotions.promote(version, reason="the first", by=None)
    predict(version, case.external_id, helpline_prediction())
    found = scrape()
    state = Case.objects.get().state
    assert found[named("cases", schema="helpline", state=state)] == 1
    assert found[named("cases", schema="helpline", state="erased")] == 0
    assert found[named("version_live", schema="helpline")] == 2
    assert 0 < found[named("confidence_mean", schema="helpline", head="main_category")] <= 1
    assert found[named("predictions_total")] > 0
    assert found[named("outbox_rows", state="failing")] == 0
    assert found[named("runs", schema="helpline", state="failed")] == 0


def test_the_age_of_the_oldest_flag_of_an_open_case_is_told(helpline, case, scrape) -> None:
    flag = case.flags.create(kind="urgent", head="priority")
    type(flag).objects.update(raised_at=timezone.now() - timedelta(hours=2))
    assert scrape()[named("oldest_flag_seconds", schema="helpline")] == pytest.approx(7200, abs=30)
    Case.objects.update(state=CaseState.DECIDED)
    assert scrape()[named("oldest_flag_seconds", schema="helpline")] == 0


def test_messages_to_subscribers_that_wait_fail_and_were_given_up_are_told(db, scrape, sent, signed_in) -> None:
    now = timezone.now()
    told, paused = (
        Subscription.objects.create(address=address, events=list(Event), salt=address, paused_at=since)
        for address, since in (("https://a.example", None), ("https://b.example", now))
    )
    for row, facts in (
        (told, {"wanted_at": now - timedelta(hours=2), "attempts": 3}),
        (told, {"wanted_at": now - timedelta(hours=1)}),
        (told, {"wanted_at": now - timedelta(days=2), "given_up_at": now}),
        (told, {"wanted_at": now - timedelta(hours=9), "delivered_at": now}),
        (paused, {"wanted_at": now - timedelta(hours=5)}),
    ):
        Delivery.objects.create(subscription=row, event=Event.DECIDED, payload={}, due_at=now, **facts)
    found = scrape()
    states = ("waiting", "failing", "given_up")
    assert [found[named("webhook_deliveries", state=state)] for state in states] == [2, 1, 1]
    assert found[named("webhook_oldest_seconds")] == pytest.approx(7200, abs=30)
    page = signed_in(Role.ADMIN).get("/status/").content.decode()
    assert "2 waiting, <span" in page
    assert "◆ 1 were tried" in page
    assert "▲ 1 were given up" in page
    assert "/webhooks-out/" in page
    out = StringIO()
    call_command("loop_status", stdout=out)
    assert "Webhooks out: 2 waiting, ◆ 1 were tried and wait to be tried again, ▲ 1 were given up" in out.getvalue()


def test_requests_are_counted_by_view_and_not_by_address(client, scrape) -> None:
    client.get("/cases/4711/")
    answered = [
        (name, dict(labels))
        for name, labels in scrape()
        if name == "django_http_requests_total_by_view_transport_method_total"
    ]
    assert any(labels["view"] == "case" for _, labels in answered)
    assert "4711" not in str(answered)


@pytest.mark.parametrize("scopes", [None, [Scope.READ]])
def test_only_a_token_made_for_it_reads_the_measures(client, db, scopes) -> None:
    headers = {}
    if scopes:
        headers["Authorization"] = f"Bearer {tokens.issue('other', scopes, days=1, by=None)}"
    assert client.get("/metrics", headers=headers).status_code == (403 if scopes else 401)


def test_a_probe_learns_what_is_ready(client, helpline, case) -> None:
    Case.objects.update(state=CaseState.NEW, received_at=timezone.now() - timedelta(minutes=5))
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["models"]["helpline"] is None
    assert answer.json()["queue_age_seconds"] == pytest.approx(300, abs=30)


def test_a_probe_learns_that_the_files_of_the_version_in_use_are_gone(client, helpline) -> None:
    promotions.promote(trained_version(helpline), reason="the first", by=None)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["models_without_files"]) == (200, ["helpline"])


def test_a_probe_is_answered_without_a_database(client, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise DatabaseError("the server said what it was asked")

    monkeypatch.setattr(connection, "cursor", fail)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["engines"]["database"]) == (503, "does not answer (DatabaseError)")
    assert loop.readiness().keys() == {"ready", "engines"}


def test_a_request_carries_its_id_into_the_outbox_and_the_log(case, client, caplog) -> None:
    number = uuid.uuid4().hex
    assert client.get("/healthz", headers={"X-Request-ID": number}).headers["X-Request-ID"] == number
    forged = client.get("/healthz", headers={"X-Request-ID": "my stepfather"}).headers["X-Request-ID"]
    assert uuid.UUID(forged)
    outbox.want_in([case])
    Outbox.objects.update(request_id=number)
    with caplog.at_level(logging.INFO):
        outbox.mark_sent(Outbox.objects.all())
    (line,) = [LineFormatter().format(record) for record in caplog.records if "delivered" in record.message]
    assert f"case={case.pk} purpose=push wished_by={number}" in line


def test_the_examples_speak_of_measures_that_there_are(helpline, case, client, scrape) -> None:
    version = trained_version(helpline, 2)
    promotions.promote(version, reason="the first", by=None)
    predict(version, case.external_id, helpline_prediction())
    LabelStudioProject.objects.create(
        schema=helpline, schema_version=helpline.versions.get(), project=7, polled_at=timezone.now()
    )
    client.get("/healthz")  # Requests are told of once there was one
    told = {name for name, _ in scrape()}
    rules = yaml.safe_load((PRODUCTION / "alerts.yml").read_text())
    asked = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    asked += [
        panel["targets"][0]["expr"] for panel in json.loads((PRODUCTION / "dashboard.json").read_text())["panels"]
    ]
    named_there = set(re.findall(r"\b(?:caseloop|django)_\w+", " ".join(asked)))
    assert len(named_there) >= 10
    assert named_there <= told


def test_the_compose_file_sets_variables_that_are_read_and_runs_what_make_run_runs() -> None:
    services = yaml.safe_load((PRODUCTION / "compose.yaml").read_text())["services"]
    documented = set(re.findall(r"^# ([A-Z_]+)=", Path(".env.example").read_text(), flags=re.MULTILINE))
    assert services["web"]["environment"].keys() <= documented
    for program in programs.workers():
        given = shlex.split(services[program.name]["command"])
        assert given == [*program.command[2 : 2 + len(given)]]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_accepts_the_unit(tmp_path) -> None:
    unit = (PRODUCTION / "caseloop@.service").read_text().replace("/opt/caseloop/.venv/bin/python", sys.executable)
    (tmp_path / "caseloop@.service").write_text(unit.replace("/opt/caseloop", str(tmp_path)))
    (tmp_path / "caseloop.target").write_text((PRODUCTION / "caseloop.target").read_text())
    found = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", str(tmp_path / "caseloop@web.service")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
