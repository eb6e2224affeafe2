"""The names that Celery can call. A task takes ids, decides nothing and returns nothing; each may be delivered twice.

Bodies are imported when they run: actions send tasks, so tasks cannot import actions at the top, and torch must stay
out of the processes that only send.
"""

# ruff: noqa: PLC0415

from __future__ import annotations

from celery import shared_task


@shared_task
def predict_cases(schema_id: int) -> None:
    """Predict the cases of a schema that the version in use has not answered yet."""
    from webapp import worker

    worker.predict_cases(schema_id)


@shared_task
def answer_question(question_id: int) -> None:
    """Answer a question of a project that has connected us as its model."""
    from webapp import worker

    worker.answer(question_id)


@shared_task
def preview_import(import_id: int) -> None:
    """Read an uploaded file and report what an import would find."""
    from webapp.actions import uploads

    uploads.preview(import_id)


@shared_task
def apply_import(import_id: int) -> None:
    """Import an uploaded file."""
    from webapp.actions import uploads

    uploads.apply(import_id)


@shared_task
def write_export(export_id: int) -> None:
    """Write a file of cases."""
    from webapp.actions import export_files

    export_files.write(export_id)


@shared_task(acks_late=False)
def train_model(run_id: int) -> None:
    """Train a queued run."""
    from webapp import worker

    worker.train(run_id)


@shared_task
def reap_runs() -> None:
    """Fail the runs whose worker went silent."""
    from webapp.actions import runs

    runs.reap()


@shared_task
def train_by_schedule(schema_id: int, profile: str) -> None:
    """Ask for the training that is due."""
    from webapp.actions import schedules

    schedules.begin(schema_id, profile)


@shared_task
def train_on_new_labels() -> None:
    """Ask for trainings where enough new labels have come."""
    from webapp.actions import schedules

    schedules.begin_on_new_labels()


@shared_task
def deliver_outbox() -> None:
    """Bring to Label Studio what waits to be sent."""
    from webapp.actions import label_studio

    label_studio.deliver()


@shared_task
def deliver_webhooks() -> None:
    """Bring events to who subscribed to them."""
    from webapp.actions import deliveries

    deliveries.deliver()


@shared_task
def poll_label_studio() -> None:
    """Fetch what annotators did since the last time; first, say again who they are."""
    from webapp.actions import access, label_studio

    access.tell()
    label_studio.poll_all()


@shared_task
def examine_label_studio(checkup_id: int) -> None:
    """Examine Label Studio, and repair what was asked for."""
    from webapp.actions import doctor

    doctor.carry_out(checkup_id)


@shared_task
def link_annotator(user_id: int) -> None:
    """Make an annotator known in Label Studio."""
    from webapp.actions import linking

    linking.link(user_id)


@shared_task
def sweep() -> None:
    """Do again what was left undone when a process died between a row and its effect."""
    from webapp.actions import sweeping

    sweeping.sweep()
