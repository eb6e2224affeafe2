"""Logs hold ids and numbers, one line for each event, and never a case's text."""

from __future__ import annotations

import logging

import pytest

from tests.conftest import case_named, helpline_prediction, predict, submission, trained_version
from webapp.actions import reviews, submissions
from webapp.logs import LineFormatter
from webapp.roles import Role


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
