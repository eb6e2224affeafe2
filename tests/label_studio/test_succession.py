"""A new version of a schema while annotators are at work in a real Label Studio and a training is under way."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from annotate import config, payloads
from ml import schema as shipped
from tests.conftest import case_named
from tests.label_studio.conftest import (
    ABUSE,
    HELPLINE,
    NEGLECT,
    cases_there,
    labels_of,
    make_due,
    project_number,
    submit,
    task_of,
    waiting,
)
from webapp.actions import label_studio as sync
from webapp.actions import runs, succession
from webapp.models import Annotation, Run, RunState

pytestmark = pytest.mark.label_studio


def merged() -> shipped.Schema:
    """The helpline schema in which child neglect is part of physical abuse."""
    before, _, after = HELPLINE.document.partition('[[heads.labels]]\nkey = "Child Neglect"')
    rest = after[after.index("[[heads.labels]]") :]
    found = f"{before}{rest}".replace(f"version = {HELPLINE.version}", f"version = {HELPLINE.version + 1}", 1)
    return shipped.parse(
        found.replace('key = "Physical Abuse"\n', 'key = "Physical Abuse"\nreplaces = ["Child Neglect"]\n', 1)
    )


def test_open_work_goes_on_and_merged_labels_stand_for_the_old_ones(
    flagged: Any, browser: httpx.Client, helpline_at: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("answered", "begun", "late", "open"):
        flagged(name)
    sync.deliver()
    submit(browser, case_named("answered"), NEGLECT)
    sync.poll_all()
    assert labels_of(case_named("answered"))["sub_category"] == "Child Neglect"
    draft = {"result": payloads.result_of(HELPLINE, NEGLECT), "lead_time": 1}
    browser.post(f"/api/tasks/{task_of(case_named('begun'))}/drafts", json=draft).raise_for_status()
    monkeypatch.setattr(runs, "FEWEST_LABELLED_CASES", 1)
    run = runs.claim(runs.request(helpline_at).pk)
    assert run is not None

    succession.apply(merged(), by=None, reason="a test needs it")
    submit(browser, case_named("late"), NEGLECT)  # On a screen that still shows the old version
    make_due()
    sync.deliver()

    assert waiting() == []
    there = browser.get(f"/api/projects/{project_number()}/").json()
    assert there["label_config"] == config.build(merged())
    assert cases_there(browser) == ["answered", "begun", "late", "open"]
    drafts = browser.get(f"/api/tasks/{task_of(case_named('begun'))}/drafts").json()
    assert len(drafts) == 1, "what somebody has begun is kept"

    submit(browser, case_named("open"), ABUSE)
    sync.poll_all()
    for name in ("answered", "late", "open"):
        case = case_named(name)
        assert (name, labels_of(case)["sub_category"]) == (name, "Physical Abuse")
        assert not Annotation.objects.get(case=case).problems
    assert labels_of(case_named("begun")) == {}
    run = Run.objects.get(pk=run.pk)
    assert (run.state, run.schema_version.number) == (RunState.RUNNING, HELPLINE.version)
