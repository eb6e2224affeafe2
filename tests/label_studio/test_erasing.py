"""A case that is erased is gone from a real Label Studio too, with all that was said about it there."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import case_named
from tests.label_studio.conftest import NEGLECT, cases_there, make_due, submit, task_of, tasks_there, waiting
from webapp.actions import erasing
from webapp.actions import label_studio as sync
from webapp.models import Annotation, CaseState, LabelStudioTask
from webapp.roles import Role

pytestmark = pytest.mark.label_studio
SECRET = "the well behind the blue mosque"
NOTE = "she told her teacher Halima"


def tables_with(words: str, data: Path) -> set[str]:
    """The tables of Label Studio's own database that hold some words."""
    found = set()
    with closing(sqlite3.connect(f"file:{data / 'label_studio.sqlite3'}?mode=ro", uri=True)) as there:
        tables = [name for (name,) in there.execute("select name from sqlite_master where type = 'table'")]
        for table in tables:
            rows = there.execute(f'select * from "{table}"')  # noqa: S608 - names of its own tables
            found |= {table for row in rows if any(words in str(value) for value in row)}
    return found


@pytest.fixture
def said(flagged: Any, browser: httpx.Client) -> dict[str, int]:
    """An answered case with a note, which somebody else has begun too, and another that stays."""
    flagged("erased", text=f"Caller: I was at {SECRET}.")
    flagged("stays", text="Caller: I was at school.")
    sync.deliver()
    case = case_named("erased")
    note = {"from_name": "comment", "to_name": "text", "type": "textarea", "value": {"text": [NOTE]}}
    result = submit(browser, case, NEGLECT)
    there = browser.get(f"/api/annotations/{result}/").json()["result"]
    browser.patch(f"/api/annotations/{result}/", json={"result": [*there, note]}).raise_for_status()
    draft = browser.post(f"/api/tasks/{task_of(case)}/drafts", json={"result": [note], "lead_time": 1})
    assert draft.status_code == 201
    sync.poll_all()
    return {"task": task_of(case), "annotation": result}


def test_task_annotation_draft_and_note_are_gone_there_and_do_not_come_back(
    said: dict[str, int], browser: httpx.Client, label_studio: Any, person: Any
) -> None:
    case = case_named("erased")
    assert Annotation.objects.get(case=case).answers["sub_category"] == "Child Neglect"
    assert tables_with(SECRET, label_studio.data), "it is there before"
    assert len(tables_with(NOTE, label_studio.data)) >= 2, "in the annotation and in the draft"

    erasing.erase(case, by=person(Role.ADMIN), reason="the family asked", confirmation="erased")
    sync.deliver()

    assert waiting() == []
    assert cases_there(browser) == ["stays"]
    assert browser.get(f"/api/tasks/{said['task']}/").status_code == 404
    assert browser.get(f"/api/annotations/{said['annotation']}/").status_code == 404
    assert tables_with(SECRET, label_studio.data) == set()
    assert tables_with(NOTE, label_studio.data) == set()
    assert LabelStudioTask.objects.get(case=case).withdrawn_at

    sync.poll_all()
    sync.deliver()
    case.refresh_from_db()
    assert case.state == CaseState.ERASED
    assert cases_there(browser) == ["stays"]
    assert "data" in tasks_there(browser)[0]


def test_what_is_erased_while_label_studio_is_away_goes_when_it_is_back(
    said: dict[str, int], browser: httpx.Client, label_studio: Any, person: Any, settings: Any
) -> None:
    there = settings.LABEL_STUDIO_URL
    settings.LABEL_STUDIO_URL = "http://127.0.0.1:9"
    erasing.erase(case_named("erased"), by=person(Role.ADMIN), reason="the family asked", confirmation="erased")
    sync.deliver()
    assert waiting() == [("erased", "withdraw")]
    assert tables_with(SECRET, label_studio.data)

    settings.LABEL_STUDIO_URL = there
    make_due()
    sync.deliver()
    assert waiting() == []
    assert tables_with(SECRET, label_studio.data) == set()
