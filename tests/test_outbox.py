"""What waits to reach Label Studio."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from tests.conftest import case_named, helpline_prediction, predict, trained_version
from webapp.actions import outbox, schemas
from webapp.models import Case, LabelStudioProject, LabelStudioTask, ModelVersion, Outbox, OutboxPurpose, Schema


@pytest.fixture
def case(helpline: Schema, import_rows: Callable[..., Any]) -> Case:
    import_rows(helpline, {"id": "1", "text": "a"})
    return case_named("1")


def waiting() -> list[str]:
    return sorted(Outbox.objects.filter(sent_at=None).values_list("purpose", flat=True))


def put_in_label_studio(case: Case, version: ModelVersion | None = None) -> None:
    newest = case.schema.versions.get()
    project = LabelStudioProject.objects.create(schema=case.schema, schema_version=newest, project=1)
    LabelStudioTask.objects.create(case=case, project=project, task=10, version=version)


def test_a_case_that_is_wanted_in_twice_is_sent_once(case) -> None:
    outbox.want_in([case])
    outbox.want_in([case])
    row = Outbox.objects.get()
    assert (row.case, row.purpose, row.attempts, row.sent_at) == (case, "push", 0, None)
    assert row.due_at <= timezone.now()


def test_the_database_itself_keeps_one_waiting_row_for_each_purpose(case) -> None:
    Outbox.objects.create(case=case, purpose="push", due_at=timezone.now())
    with pytest.raises(IntegrityError, match="one_waiting_row_by_purpose"), transaction.atomic():
        Outbox.objects.create(case=case, purpose="push", due_at=timezone.now())


def test_a_case_that_is_wanted_out_before_it_was_sent_is_not_sent(case) -> None:
    outbox.want_in([case])
    outbox.want_out([case])
    assert waiting() == []


def test_a_case_that_is_there_is_taken_back(case) -> None:
    put_in_label_studio(case)
    outbox.want_out([case])
    assert waiting() == ["withdraw"]


def test_a_case_that_is_wanted_in_again_is_not_taken_back(helpline, case) -> None:
    version = trained_version(helpline)
    put_in_label_studio(case, version)
    predict(version, "1", helpline_prediction(sure=0.9))
    assert waiting() == ["withdraw"]
    outbox.want_in([case])
    assert waiting() == []


def test_a_case_that_was_taken_back_is_sent_again(case) -> None:
    put_in_label_studio(case)
    LabelStudioTask.objects.update(withdrawn_at=timezone.now())
    outbox.want_in([case])
    assert waiting() == ["push"]


def test_a_case_that_shows_older_answers_is_refreshed_a_little_later(helpline, case) -> None:
    put_in_label_studio(case, trained_version(helpline, 1))
    predict(trained_version(helpline, 2), "1", helpline_prediction(sure=0.6))
    row = Outbox.objects.get()
    assert row.purpose == OutboxPurpose.REFRESH
    assert timedelta(seconds=3) < row.due_at - timezone.now() <= timedelta(seconds=5)


def test_a_case_that_shows_the_answers_of_this_version_is_left_alone(helpline, case) -> None:
    version = trained_version(helpline)
    put_in_label_studio(case, version)
    predict(version, "1", helpline_prediction(sure=0.6))
    assert waiting() == []


def test_what_was_sent_does_not_wait_any_more(case) -> None:
    outbox.want_in([case])
    Outbox.objects.update(failure="it was down")
    outbox.mark_sent(Outbox.objects.all())
    row = Outbox.objects.get()
    assert (waiting(), row.failure) == ([], "")
    assert row.sent_at <= timezone.now()


@pytest.mark.parametrize(("attempts", "seconds"), [(0, 10), (1, 20), (2, 40), (5, 320), (6, 600), (2000, 600)])
def test_what_failed_waits_longer_each_time_up_to_ten_minutes(case, attempts, seconds) -> None:
    outbox.want_in([case])
    Outbox.objects.update(attempts=attempts)
    before = timezone.now()
    outbox.mark_failed(Outbox.objects.all(), "x" * 400)
    row = Outbox.objects.get()
    assert (row.attempts, row.failure, row.sent_at) == (attempts + 1, "x" * 300, None)
    wait = timedelta(seconds=seconds)
    assert before + wait <= row.due_at <= timezone.now() + wait


def test_a_worker_is_asked_only_when_something_waits(case, sent, django_capture_on_commit_callbacks) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        outbox.want_out([case])
    assert sent == []
    with django_capture_on_commit_callbacks(execute=True):
        outbox.want_in([case])
    assert sent == [("deliver_outbox",)]


# --- Two connections -------------------------------------------------------------------------------------------------


@pytest.fixture
def waiting_row(transactional_db: None, import_rows: Callable[..., Any], sent: list[Any]) -> Outbox:
    """A row that has been committed, as a worker reads it that begins to deliver it."""
    schemas.register_shipped()
    import_rows(Schema.objects.get(name="helpline"), {"id": "1", "text": "a"})
    Outbox.objects.all().delete()
    outbox.want_in([case_named("1")])
    return Outbox.objects.get()


def test_what_is_wished_for_again_while_it_is_delivered_is_delivered_again(waiting_row) -> None:
    in_thread(outbox.want_in, [case_named("1")]).result(10)
    outbox.mark_sent([waiting_row])
    row = Outbox.objects.get()
    assert (row.pk, row.revision, row.sent_at) == (waiting_row.pk, 1, None)
    outbox.mark_sent([row])
    assert waiting() == []


def test_a_wish_that_is_not_committed_yet_is_waited_for(waiting_row) -> None:
    with transaction.atomic():
        outbox.want_in([case_named("1")])
        marking = in_thread(outbox.mark_sent, [waiting_row])
        with pytest.raises(TimeoutError):
            marking.result(0.5)
    marking.result(10)
    assert waiting() == ["push"]


def test_a_wish_that_comes_when_all_was_sent_is_a_row_of_its_own(waiting_row) -> None:
    with transaction.atomic():
        outbox.mark_sent([waiting_row])
        wishing = in_thread(outbox.want_in, [case_named("1")])
        with pytest.raises(TimeoutError):
            wishing.result(0.5)
    wishing.result(10)
    assert waiting() == ["push"]
    assert Outbox.objects.count() == 2


def in_thread(action: Callable[[Any], None], argument: Any) -> Future[None]:
    """Begin an action on a connection of its own."""

    def run() -> None:
        try:
            action(argument)
        finally:
            connection.close()

    threads = ThreadPoolExecutor(1)
    try:
        return threads.submit(run)
    finally:
        threads.shutdown(wait=False)
