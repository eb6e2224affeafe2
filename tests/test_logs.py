"""Logs hold ids and numbers, one line for each event, and never a case's text."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from django.db import IntegrityError

from tests import breaking
from tests.breaking import MARKER
from tests.conftest import case_named, helpline_prediction, predict, submission, trained_version
from tests.engines import free_port
from webapp.actions import reviews, submissions
from webapp.celery_app import app as celery_app
from webapp.engines import programs
from webapp.engines.folders import Folders
from webapp.errors import UnreadableFile
from webapp.logs import LineFormatter
from webapp.models import CaseText
from webapp.roles import Role

ROOT = Path(__file__).resolve().parent.parent


def line(message: str, **facts: object) -> str:
    record = logging.makeLogRecord({"name": "webapp.x", "levelname": "INFO", "msg": message, **facts})
    return LineFormatter().format(record).split(" ", 2)[2]  # Without the time


def test_facts_follow_the_message_in_the_order_of_their_names() -> None:
    assert line("case decided", version=3, case=17) == "INFO webapp.x case decided case=17 version=3"


def test_a_message_without_facts_stands_alone() -> None:
    assert line("worker started") == "INFO webapp.x worker started"


def test_a_long_fact_is_replaced_by_its_length() -> None:
    assert line("m", error="x" * 120) == f"INFO webapp.x m error={'x' * 120}"
    assert line("m", error="x" * 121) == "INFO webapp.x m error=<121 characters>"
    assert line("m", facts=["a" * 60, "b" * 60]) == "INFO webapp.x m facts=<128 characters>"


def test_the_settings_write_every_line_this_way(settings) -> None:
    assert settings.LOGGING["handlers"]["console"]["formatter"] == "line"
    assert settings.LOGGING["formatters"]["line"] == {"()": "webapp.logs.LineFormatter"}
    assert logging.getLogger("django").handlers == []  # Else Django's own would write some in another way


@pytest.mark.parametrize("word", ["Amina", "Kisumu"])
def test_no_word_of_a_case_reaches_a_log(helpline, import_rows, person, caplog, word) -> None:
    caplog.set_level(logging.DEBUG, logger="webapp")
    text = "Her name is Amina and she lives in Kisumu."
    spans = [{"start": 12, "end": 17, "label": "NAME"}, {"start": 0, "end": 900, "label": "NAME"}]
    import_rows(helpline, {"id": "1", "text": text, "county": "Kisumu", "entities": spans, "priority": "Amina"})
    case = predict(trained_version(helpline), "1", helpline_prediction(urgent=0.5))
    submissions.record(case, submission(helpline, "Wanjiru", {"priority": "2"}, note="Amina of Kisumu"))
    answers = {"main_category": "VANE", "sub_category": "Other", "priority": "1"}
    reviews.decide(case_named("1"), person(Role.SUPERVISOR), answers=answers, revision=1, note="Amina of Kisumu")
    assert word not in "\n".join(LineFormatter().format(record) for record in caplog.records)


# --- Exceptions ------------------------------------------------------------------------------------------------------


def logged(exc: BaseException, message: str = "it failed", *args: object, **facts: object) -> str:
    try:
        raise exc
    except type(exc):
        values = {"name": "webapp.x", "levelname": "ERROR", "msg": message, "args": args, "exc_info": sys.exc_info()}
        return LineFormatter().format(logging.makeLogRecord(values | facts)).split(" ", 2)[2]


def test_of_an_exception_the_type_and_the_frames_are_written_and_not_the_message() -> None:
    first, kind, frame = logged(ValueError(MARKER), case=17).split("\n")
    assert (first, kind) == ("ERROR webapp.x it failed case=17", "  ValueError")
    assert re.fullmatch(rf"    {re.escape(__file__)}:\d+ in logged", frame)


def test_those_that_led_to_it_are_named_too() -> None:
    with pytest.raises(ValueError, match="cannot read") as caught:
        breaking.quote()
    lines = logged(caught.value).split("\n")
    assert [line for line in lines[1:] if not line.startswith("    ")] == ["  ValueError", "  after KeyError"]
    assert lines[-1].endswith("in refuse")
    assert MARKER not in "".join(lines)


def test_an_exception_in_the_message_or_the_facts_is_its_type() -> None:
    said = logged(ValueError("x"), "%s and %s", ValueError(MARKER), KeyError(MARKER), error=OSError(MARKER))
    assert said.startswith("ERROR webapp.x ValueError and KeyError error=OSError\n")


def test_what_another_formatter_wrote_of_the_exception_is_not_used() -> None:
    assert MARKER not in logged(ValueError("x"), exc_text=f"ValueError: {MARKER}")


def test_our_own_errors_are_quoted_on_one_line() -> None:
    assert "\n  UnreadableFile: the file is\\nempty\n" in logged(UnreadableFile("the file is\nempty"))


@pytest.mark.slow
def test_a_task_that_breaks_in_a_worker_quotes_nothing(tmp_path) -> None:
    log = tmp_path / "worker.log"
    command = ["-m", "celery", "-A", "webapp.celery_app", "worker", "-I", "tests.breaking", "-Q", "breaking", "-c", "1"]
    with running(log, *command, "-n", "breaking@%h", "--loglevel", "INFO"):
        sent = celery_app.send_task("tests.breaking.break_down", args=[4711], queue="breaking")
        said = wait_for(log, "after KeyError")
    assert f"ERROR celery.app.trace Task tests.breaking.break_down[{sent.id}] raised unexpected: ValueError" in said
    assert re.search(r"breaking\.py:\d+ in break_down", said)
    assert " data=" not in said
    assert MARKER not in said


@pytest.mark.slow
def test_a_request_that_breaks_quotes_nothing_within_django_and_outside(tmp_path) -> None:
    log, port, folders = tmp_path / "web.log", free_port(), Folders(tmp_path)
    folders.metrics.mkdir(parents=True)
    command = [*programs.web(folders, port).command[1:]]
    command[command.index("webapp.wsgi:application")] = "tests.breaking:application"
    with running(log, *command):
        wait_for(log, "Booting worker")
        for address in ("page", "outside"):
            assert httpx.get(f"http://127.0.0.1:{port}/{address}/", timeout=30).status_code == 500
        said = wait_for(log, "in application")
    assert "ERROR django.request Internal Server Error: /page/" in said
    assert "ERROR gunicorn.error Error handling request" in said
    assert said.count("after KeyError") == 2
    assert MARKER not in said


@pytest.mark.django_db(transaction=True)
def test_a_row_that_the_database_refuses_is_not_in_its_log() -> None:
    refused = CaseText(case_id=None, text=MARKER)
    with pytest.raises(IntegrityError):
        refused.save(force_insert=True)
    log = Path(os.environ["CASELOOP_VAR"]) / "log" / "postgres.log"
    assert "database system is ready" in log.read_text()
    assert MARKER not in log.read_text()


@contextmanager
def running(log: Path, *command: str) -> Iterator[None]:
    """Run a module of Python with our settings, and write all that it says to a file."""
    with log.open("w") as file:
        process = subprocess.Popen([sys.executable, *command], cwd=ROOT, stdout=file, stderr=file)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def wait_for(log: Path, words: str, *, limit_seconds: float = 60) -> str:
    """Return what was logged once it holds these words."""
    deadline = time.monotonic() + limit_seconds
    while words not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    time.sleep(0.3)  # What follows belongs to it
    return log.read_text()
