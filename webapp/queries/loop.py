"""How the loop stands: cases by state, the version in use, what waits and what works."""

from __future__ import annotations

from typing import Any

from celery.exceptions import OperationalError
from django.core.cache import cache
from django.db import DatabaseError, connection
from django.db.models import Count
from redis.exceptions import RedisError

from ml.registry import ModelFolderError
from webapp.celery_app import app
from webapp.demo import SOURCE
from webapp.models import Case, CaseState, LabelStudioProject, ModelVersion, Run, Schema
from webapp.models.learning import OPEN_RUN_STATES
from webapp.queries import health as traffic
from webapp.queries import pending, schemas
from webapp.serving import checked_folder

ASKED_SECONDS = 10  # Everybody who looks is told the same for so long


def status() -> dict[str, Any]:
    """Return what `loop_status --json` prints and the status page shows."""
    return {
        "schemas": {schema.name: _schema(schema) for schema in Schema.objects.order_by("name")},
        "outbox": traffic.outbox(),
        "webhooks": traffic.webhooks(),
        "label_studio": [_project(row) for row in LabelStudioProject.objects.select_related("schema")],
    }


def counts(schema: Schema) -> dict[str, int]:
    """Return the number of cases in every state."""
    found = dict(Case.objects.filter(schema=schema).values_list("state").annotate(n=Count("pk")))
    return {state.value: found.get(state.value, 0) for state in CaseState}


def demo_cases() -> int:
    """Return how many cases are synthetic."""
    return Case.objects.filter(source=SOURCE).count()


def engines() -> dict[str, str]:
    """Return what is wrong with each engine that a web process needs, in words; the empty text where nothing is."""
    found = {"database": "", "broker": ""}
    try:
        with connection.cursor() as cursor:
            cursor.execute("select 1")
    except DatabaseError as exc:
        found["database"] = f"does not answer ({type(exc).__name__})"
    try:
        cache.set("caseloop:alive", 1, 5)
    except (RedisError, OSError) as exc:
        found["broker"] = f"does not answer ({type(exc).__name__})"
    return found


def readiness() -> dict[str, Any]:
    """Return what `/readyz` answers: whether the engines that pages need are there, and what the loop works with.

    Models are told as the number in use by schema. One that is missing, or whose files are, is no reason to send nobody
    here: cases go to people meanwhile. `queue_age_seconds` is how long the oldest case has waited for its first
    prediction. Without a database, only the engines are told.
    """
    found = engines()
    answer: dict[str, Any] = {"ready": not any(found.values()), "engines": found}
    if found["database"]:
        return answer
    versions = {schema.name: schemas.champion(schema) for schema in Schema.objects.order_by("name")}
    return answer | {
        "models": {name: version.number if version else None for name, version in versions.items()},
        "models_without_files": [name for name, version in versions.items() if version and not _has_files(version)],
        "queue_age_seconds": pending.oldest_seconds(),
    }


def workers(timeout_seconds: float = 1.0) -> list[str]:
    """Return the names of the workers that answer in time."""
    try:
        answers = app.control.ping(timeout=timeout_seconds)
    except (OperationalError, RedisError, OSError):
        return []
    return sorted(name for answer in answers or [] for name in answer)


def _has_files(version: ModelVersion) -> bool:
    try:
        checked_folder(version)
    except ModelFolderError:
        return False
    return True


def health() -> dict[str, Any]:
    """Return what is wrong with each engine, and the workers that answered a few seconds ago: to ask takes a second."""
    found = engines()
    names = [] if found["broker"] else cache.get_or_set("caseloop:workers", workers, ASKED_SECONDS)
    return {"engines": found, "workers": names}


def _schema(schema: Schema) -> dict[str, Any]:
    champion = schemas.champion(schema)
    run = Run.objects.filter(schema=schema, state__in=OPEN_RUN_STATES).first()
    return {
        "title": schema.title,
        "cases": counts(schema),
        "waiting_for_prediction": pending.cases(schema).count(),
        "champion": champion.number if champion else None,
        "open_run": {"id": run.pk, "state": run.state, "progress": run.progress} if run else None,
    }


def _project(row: LabelStudioProject) -> dict[str, Any]:
    return {
        "schema": row.schema.name,
        "project": row.project,
        "seconds_since_poll": traffic.age(row.polled_at),
        "failure": row.failure,
        "sending_failure": row.sending_failure,
    }
