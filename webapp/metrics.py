"""What Prometheus is told: requests, counted in each web process, and the loop, asked of the database each time."""

from __future__ import annotations

import os
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest, multiprocess
from prometheus_client.core import REGISTRY, CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from webapp.queries import measures

# By name, all with `caseloop_` before it; `_total` makes a counter
MEANINGS = {
    "cases": "Cases by state",
    "oldest_flag_seconds": "How long the oldest flag on an open case has waited for a person",
    "confidence_mean": f"Mean confidence of the newest {measures.NEWEST} predictions",
    "version_live": "Number of the version in use; 0 where none was trained",
    "promotions_total": "How often a version was put in use",
    "runs": "Trainings by state",
    "run_silent_seconds": "How long the open training has told nothing of itself",
    "predictions_total": "Predictions stored, by the newest number; its rate is predictions a second",
    "outbox_rows": "What has to reach Label Studio; failing are those that were tried in vain",
    "outbox_oldest_seconds": "How long the oldest of these has waited",
    "webhook_deliveries": "Messages to subscribers: failing were tried in vain; those given up are kept for a month",
    "webhook_oldest_seconds": "How long the oldest of these has waited",
    "label_studio_poll_age_seconds": "How long ago Label Studio last told what annotators did",
    "alerts_open": "Escalations that nobody has acknowledged",
}


class Loop(Collector):
    """Asks the database each time."""

    def collect(self) -> Iterator[Metric]:
        """Yield every measure of the loop."""
        families: dict[str, Metric] = {}
        for one in measures.of_the_loop():
            family = families.get(one.name) or families.setdefault(one.name, _family(one))
            family.add_metric(list(one.labels.values()), one.value)  # type: ignore[attr-defined]
        yield from families.values()


def exposition() -> bytes:
    """Return everything in Prometheus' text format, the requests of all web processes added up."""
    loop = CollectorRegistry()
    loop.register(Loop())
    requests = REGISTRY
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):  # A name of the client library, read where it starts
        requests = CollectorRegistry()
        multiprocess.MultiProcessCollector(requests)  # type: ignore[no-untyped-call]
    return generate_latest(requests) + generate_latest(loop)


def _family(one: measures.Measure) -> Metric:
    kind = CounterMetricFamily if one.name.endswith("_total") else GaugeMetricFamily
    return kind(f"caseloop_{one.name}", MEANINGS[one.name], labels=list(one.labels))
