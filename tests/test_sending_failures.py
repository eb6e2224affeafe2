"""What cannot be brought to Label Studio is told and tried again, also where no case waits for it."""

from __future__ import annotations

import pytest

from annotate import config, inspection
from tests.conftest import trained_version
from webapp.actions import label_studio, promotions, sweeping
from webapp.models import Case, LabelStudioProject, LabelStudioTask, Outbox
from webapp.roles import Role

UNREACHABLE = "Label Studio cannot be reached (ConnectError)"


@pytest.fixture
def unshown(case, settings, sent) -> LabelStudioProject:
    """A project whose one task does not show the answers of the version in use, though nothing waits to be sent."""
    promotions.promote(case.current_prediction.version, by=None, reason="the first")
    version = case.schema.versions.get()
    project = LabelStudioProject.objects.create(
        schema=case.schema,
        schema_version=version,
        config_hash=inspection.digest(config.build(version.parsed)),
        project=1,
        webhook_url=f"{settings.SITE_URL}/webhooks/label-studio/",
    )
    LabelStudioTask.objects.create(case=case, project=project, task=10)
    Outbox.objects.all().delete()
    sent.clear()
    return project


def test_a_failure_that_no_case_waits_for_is_shown_and_tried_again_until_it_succeeds(unshown, sent, signed_in) -> None:
    admin = signed_in(Role.ADMIN)
    assert "could not be sent" not in admin.get("/status/").content.decode()
    label_studio._deliver(unshown.schema, [])
    unshown.refresh_from_db()
    assert (unshown.sending_failure, unshown.version) == (UNREACHABLE, None)
    assert f"▲ helpline: could not be sent: {UNREACHABLE}. It is tried again." in admin.get("/status/").content.decode()
    sweeping.sweep()
    assert ("deliver_outbox",) in sent
    label_studio.deliver()
    unshown.refresh_from_db()
    assert unshown.sending_failure == UNREACHABLE
    Case.objects.update(state="review")  # Nothing is shown to annotators any more
    label_studio.deliver()
    unshown.refresh_from_db()
    assert unshown.sending_failure == ""
    sent.clear()
    sweeping.sweep()
    assert ("deliver_outbox",) not in sent


def test_where_nothing_failed_nothing_is_tried(unshown, caplog) -> None:
    trained_version(unshown.schema, 2)
    label_studio.deliver()
    assert caplog.text == ""
