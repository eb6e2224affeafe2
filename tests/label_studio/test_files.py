"""Files that go between Caseloop and a real Label Studio, by its own export and import."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from django.core.management import call_command

from tests.conftest import case_named
from tests.importing import import_file
from tests.label_studio.conftest import NEGLECT, TEXT, labels_of, project_number, somebody_else, submit, tasks_there
from webapp.actions import label_studio as sync
from webapp.models import Case
from webapp.roles import Role

pytestmark = pytest.mark.label_studio


def test_an_export_of_label_studio_comes_in_with_annotations_and_annotators(
    delivered, browser, helpline_at, tmp_path
) -> None:
    submit(browser, delivered, NEGLECT, lead_time=12.5)
    submit(browser, delivered, NEGLECT, completed_by=(amina := somebody_else(browser)))
    found = browser.get(f"/api/projects/{project_number()}/export", params={"exportType": "JSON"})
    path = tmp_path / "export.json"
    path.write_bytes(found.content)
    Case.objects.update(external_id="before")
    report = import_file(path, helpline_at)
    case = case_named(str(delivered.pk))
    assert (report.new, report.faults, case.stored_text.text) == (1, [], TEXT)
    said = [(row.annotator.name, row.answers, row.seconds) for row in case.annotations.order_by("pk")]
    assert len(said) == 2  # Label Studio itself names people by number in such a file
    assert ("Label Studio user 1", NEGLECT, 12.5) in said
    assert (f"Label Studio user {amina}", NEGLECT, None) in said
    assert labels_of(case) == NEGLECT


def test_our_export_goes_into_label_studio_with_the_same_annotators(delivered, browser, person, tmp_path) -> None:
    submit(browser, delivered, NEGLECT, completed_by=somebody_else(browser))
    sync.poll_all()
    path = tmp_path / "out.json"
    call_command("export_cases", str(path), by=person(Role.ADMIN).username)
    _import(browser, json.loads(path.read_text()))
    mine = next(task for task in tasks_there(browser) if task["data"].get("id") == "1")
    (said,) = mine["annotations"]
    original = next(task for task in tasks_there(browser) if task["data"].get("case_id"))["annotations"][0]
    assert (said["completed_by"], mine["data"]["text"]) == (original["completed_by"], TEXT)
    assert [region["value"] for region in said["result"]] == [region["value"] for region in original["result"]]


def _import(browser: httpx.Client, tasks: list[dict[str, Any]]) -> None:
    browser.post(f"/api/projects/{project_number()}/import", json=tasks).raise_for_status()
