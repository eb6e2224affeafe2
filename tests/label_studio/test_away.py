"""What happens while Label Studio is away or refuses."""

from __future__ import annotations

import logging
from datetime import timedelta

import httpx
import pytest
from django.utils import timezone

from ml.types import HeadPrediction
from tests.conftest import change_policy, helpline_prediction, predict, trained_version
from tests.engines import NOBODY_LISTENS
from tests.label_studio.conftest import (
    NEGLECT,
    cases_there,
    labels_of,
    make_due,
    predictions_there,
    project_number,
    submit,
    use,
    waiting,
)
from webapp.actions import label_studio as sync
from webapp.models import LabelStudioProject, Outbox, Schema

pytestmark = pytest.mark.label_studio

MARKER = "my stepfather locks the door every night"


def test_while_label_studio_is_down_the_outbox_waits_and_the_rest_goes_on(
    flagged, settings, label_studio, browser
) -> None:
    settings.LABEL_STUDIO_URL = NOBODY_LISTENS
    flagged("1")
    before = timezone.now()
    sync.deliver()
    row = Outbox.objects.get()
    assert (row.sent_at, row.attempts) == (None, 1)
    assert row.failure == "Label Studio cannot be reached (ConnectError)"
    assert before + timedelta(seconds=10) <= row.due_at <= timezone.now() + timedelta(seconds=10)
    sync.deliver()  # Not due yet
    assert Outbox.objects.get().attempts == 1
    flagged("2")
    assert waiting() == [("1", "push"), ("2", "push")]
    settings.LABEL_STUDIO_URL = label_studio.url
    make_due()
    sync.deliver()
    assert (cases_there(browser), waiting()) == (["1", "2"], [])
    assert set(Outbox.objects.values_list("failure", flat=True)) == {""}


def test_a_poll_that_fails_says_since_when_and_why_until_one_succeeds(
    delivered, settings, label_studio, browser
) -> None:
    submit(browser, delivered, NEGLECT)
    settings.LABEL_STUDIO_URL = NOBODY_LISTENS
    sync.poll_all()
    first = LabelStudioProject.objects.get()
    assert first.failure == "Label Studio cannot be reached (ConnectError)"
    assert first.failing_since <= timezone.now()
    sync.poll_all()
    assert LabelStudioProject.objects.get().failing_since == first.failing_since
    settings.LABEL_STUDIO_URL = label_studio.url
    sync.poll_all()
    row = LabelStudioProject.objects.get()
    assert (row.failure, row.failing_since) == ("", None)
    assert row.polled_at > first.failing_since
    assert labels_of(delivered) == NEGLECT


def test_a_wrong_key_is_told_and_not_repeated(flagged, settings) -> None:
    settings.LABEL_STUDIO_API_KEY = "f0" * 20
    flagged("1")
    sync.deliver()
    row = Outbox.objects.get()
    assert row.failure.startswith("Label Studio refused with status 401")
    assert "f0f0" not in row.failure


def test_without_an_address_nothing_is_tried(flagged, settings) -> None:
    settings.LABEL_STUDIO_URL = ""
    flagged("1")
    sync.deliver()
    sync.poll_all()
    assert (Outbox.objects.get().attempts, waiting()) == (0, [("1", "push")])


def test_an_answer_that_the_schema_does_not_have_is_left_out_and_the_others_shown(flagged, browser) -> None:
    flagged("1", prediction={**helpline_prediction(sure=0.5), "priority": HeadPrediction("9", 0.5, {"9": 0.5})})
    sync.deliver()
    answers = {key: answer for key, answer in NEGLECT.items() if key != "priority"}
    assert predictions_there(browser) == {"1": [("version 1", answers)]}
    assert waiting() == []


def test_a_schema_that_label_studio_refuses_holds_up_no_other(flagged, helpline_at, import_rows, browser) -> None:
    flagged("1")
    sync.deliver()
    change_configuration(browser)
    flagged("2")
    customer = Schema.objects.get(name="customer")
    change_policy(customer, audit_share=0.0)
    import_rows(customer, {"id": "message", "text": "How much is it?"})
    tags = HeadPrediction(["Deal-seeker"], 0.4, {"Deal-seeker": 0.4})
    predict(use(trained_version(customer)), "message", {"tags": tags})
    sync.deliver()
    row = Outbox.objects.get(case__external_id="2")
    assert (row.attempts, row.failure[:36]) == (1, "Label Studio refused with status 400")
    assert waiting() == [("2", "push")]


def test_the_text_of_a_case_is_in_no_failure_and_in_no_log(flagged, settings, label_studio, browser, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    case = flagged("1", text=MARKER)
    settings.LABEL_STUDIO_URL = NOBODY_LISTENS
    sync.deliver()
    settings.LABEL_STUDIO_URL = label_studio.url
    make_due()
    sync.deliver()
    submit(browser, case, NEGLECT)
    sync.poll_all()
    change_configuration(browser)
    refused = flagged("2", text=f"{MARKER} again")
    sync.deliver()
    row = Outbox.objects.get(case=refused)
    assert row.failure.startswith("Label Studio refused with status 400")
    assert labels_of(case) == NEGLECT
    said = [f"{record.getMessage()} {record.__dict__}" for record in caplog.records]
    assert any("outbox waits" in line for line in said)
    assert [line for line in [*said, caplog.text, row.failure] if "stepfather" in line] == []


def change_configuration(browser: httpx.Client) -> None:
    """Rename a label in the project, as any annotator may: Label Studio refuses what is filled in from then on."""
    address = f"/api/projects/{project_number()}/"
    changed = browser.get(address).json()["label_config"].replace('alias="2"', 'alias="two"')
    browser.patch(address, json={"label_config": changed}).raise_for_status()
