"""Numbers by which a machine watches the loop. Each is one query that stays fast with many cases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from django.db import connection
from django.db.models import Count, Max, Min

from webapp.models import Escalation, Flag, LabelStudioProject, Prediction, Promotion, Run, RunState, Schema
from webapp.models.cases import OPEN_STATES
from webapp.models.learning import OPEN_RUN_STATES
from webapp.queries import health, loop, schemas

NEWEST = 500  # Predictions of a schema whose confidence is told

CONFIDENCE = """
    select scores.head, avg(scores.confidence) from webapp_headscore scores
    join (
        select predictions.id from webapp_prediction predictions
        join webapp_case cases on cases.id = predictions.case_id
        where cases.schema_id = %(schema)s order by predictions.id desc limit %(newest)s
    ) newest on newest.id = scores.prediction_id
    where scores.confidence is not null group by scores.head
"""


@dataclass(frozen=True, slots=True)
class Measure:
    """One number, with what it is about."""

    name: str  # Of the measure, with its unit
    value: float
    labels: dict[str, str] = field(default_factory=dict)


def of_the_loop() -> Iterator[Measure]:
    """Yield what Prometheus is told; `webapp.metrics` says in words what each is."""
    for schema in Schema.objects.order_by("name"):
        yield from _of(schema)
    yield Measure("predictions_total", Prediction.objects.aggregate(newest=Max("pk"))["newest"] or 0)
    outbox = health.outbox()
    yield Measure("outbox_rows", outbox["waiting"], {"state": "waiting"})
    yield Measure("outbox_rows", outbox["failing"], {"state": "failing"})
    yield Measure("outbox_oldest_seconds", outbox["oldest_seconds"] or 0)
    webhooks = health.webhooks()
    for state in ("waiting", "failing", "given_up"):
        yield Measure("webhook_deliveries", webhooks[state], {"state": state})
    yield Measure("webhook_oldest_seconds", max(0.0, webhooks["oldest_seconds"] or 0))
    for project in LabelStudioProject.objects.select_related("schema"):
        if (seconds := health.age(project.polled_at)) is not None:
            yield Measure("label_studio_poll_age_seconds", seconds, {"schema": project.schema.name})
    yield Measure("alerts_open", Escalation.objects.filter(acknowledgement=None).count())


def _of(schema: Schema) -> Iterator[Measure]:
    about = {"schema": schema.name}
    for name, n in loop.counts(schema).items():
        yield Measure("cases", n, about | {"state": name})
    flagged = Flag.objects.filter(case__schema=schema, case__state__in=OPEN_STATES, resolved_at=None)
    yield Measure("oldest_flag_seconds", _seconds(flagged.aggregate(at=Min("raised_at"))["at"]), about)
    with connection.cursor() as cursor:
        cursor.execute(CONFIDENCE, {"schema": schema.pk, "newest": NEWEST})
        for head, mean in cursor.fetchall():
            yield Measure("confidence_mean", mean, about | {"head": head})
    champion = schemas.champion(schema)
    yield Measure("version_live", champion.number if champion else 0, about)
    yield Measure("promotions_total", Promotion.objects.filter(version__schema=schema).count(), about)
    runs = dict(Run.objects.filter(schema=schema).values_list("state").annotate(n=Count("pk")))
    for state in RunState:
        yield Measure("runs", runs.get(state.value, 0), about | {"state": state.value})
    heartbeat = Run.objects.filter(schema=schema, state__in=OPEN_RUN_STATES).aggregate(at=Min("heartbeat_at"))["at"]
    yield Measure("run_silent_seconds", _seconds(heartbeat), about)


def _seconds(moment: datetime | None) -> float:
    return max(0.0, health.age(moment) or 0.0)
