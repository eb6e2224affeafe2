"""Runs, versions, and two versions beside each other."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from ml import metrics
from ml.schema import Head, Kind
from webapp.models import Evaluation, ModelVersion, Run, Schema
from webapp.queries import gate, ledger, schemas, wording

SHOWN_LATER = 10  # Measurements on a version's page
MEASURES = {
    Kind.CHOICE: "accuracy",
    Kind.CHOICES: "micro F1",
    Kind.SPANS: "micro F1 of spans",
    Kind.RUBRIC: "accuracy of criteria",
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """One head of a challenger beside the champion, on the same cases."""

    head: str
    metric: str
    n: int
    challenger: float
    champion: float | None
    interval: tuple[float, float] | None  # Of the challenger, 95%
    majority: float
    ece: float | None
    ece_interval: tuple[float, float] | None  # 95%
    ece_perfect: float | None  # What confidences that are true would show on so few cases
    change: gate.Change | None = None  # What the difference means, where the gate drew its interval

    @property
    def difference(self) -> float | None:
        """How much better the challenger is; None without a champion."""
        return None if self.champion is None else self.challenger - self.champion


@dataclass(frozen=True, slots=True)
class Cost:
    """What serving a head in one precision costs it, against the model as it was trained."""

    head: str
    drop: float  # Of its main measure
    change: float | None  # Mean absolute difference of its probabilities; spans have none


@dataclass(frozen=True, slots=True)
class Served:
    """In which precision a version answers, and what int8 costs or would have cost."""

    precision: str
    n: int
    costs: tuple[Cost, ...]


@dataclass(frozen=True, slots=True)
class SchemaModels:
    """What the models page shows of one schema."""

    schema: Schema
    champion: ModelVersion | None
    open_run: Run | None
    runs: tuple[Run, ...]
    registered: tuple[ModelVersion, ...]
    ledger: tuple[ledger.Reign, ...]
    earlier: ModelVersion | None  # To go back to
    labelled: int

    @property
    def has_failures(self) -> bool:
        """Whether any of these runs failed."""
        return any(run.failure for run in self.runs)


def overview() -> list[SchemaModels]:
    """Return what the models page shows."""
    found = []
    for schema in Schema.objects.order_by("-name"):
        runs = tuple(schema.runs.select_related("version", "requested_by").order_by("-id")[:10])
        found.append(
            SchemaModels(
                schema=schema,
                champion=schemas.champion(schema),
                open_run=next((run for run in runs if run.is_open), None),
                runs=runs,
                registered=tuple(schema.model_versions.filter(kind="trained", run=None).order_by("-number")[:10]),
                ledger=tuple(ledger.reigns(schema)[:20]),
                earlier=ledger.earlier(schema),
                labelled=schema.cases.filter(labels__isnull=False).distinct().count(),
            )
        )
    return found


def compare(version: ModelVersion) -> tuple[Evaluation | None, ModelVersion | None, list[Comparison]]:
    """Return the evaluation that a version was stored with, whom it was compared with, and the heads of both.

    That is its first: one in use is measured again, alone, with each training that follows; see `measured_later`.
    """
    evaluation = version.evaluations.select_related("snapshot").order_by("id").first()
    if evaluation is None:
        return None, None, []
    other = (
        Evaluation.objects.filter(snapshot=evaluation.snapshot, version=evaluation.compared_with_id)
        .select_related("version")
        .first()
    )
    parsed = version.schema_version.parsed
    changes = {one["subject"]: gate.change(one["low"], one["high"]) for one in evaluation.gate.get("heads", ())}
    rows = [
        replace(
            _row(head, evaluation.heads[head.key], other.heads.get(head.key) if other else None),
            change=changes.get(head.name),
        )
        for head in parsed.heads
        if head.key in evaluation.heads
    ]
    return evaluation, other.version if other else None, rows


def measured_later(version: ModelVersion) -> list[tuple[Evaluation, list[Comparison]]]:
    """Return the newest measurements of a version since it was trained, newest first, with its heads."""
    heads = version.schema_version.parsed.heads
    evaluations = list(version.evaluations.select_related("snapshot").order_by("id"))[1:]
    return [
        (found, [_row(head, found.heads[head.key], None) for head in heads if head.key in found.heads])
        for found in evaluations[: -SHOWN_LATER - 1 : -1]
    ]


def served(version: ModelVersion) -> Served | None:
    """Return how a version is served; None where its manifest does not tell."""
    export = version.manifest.get("export")
    if export is None or "int8" not in export:  # A checkpoint that was imported without cases to compare on
        return None
    heads = version.schema_version.parsed.heads
    costs = tuple(
        Cost(head.name, found["drop"], None if head.kind == Kind.SPANS else found["change"])
        for head in heads
        if (found := export["int8"].get(head.key))
    )
    return Served(export["precision"], export["n"], costs)


@dataclass(frozen=True, slots=True)
class Leak:
    """How many of the entities with a label that people marked a version leaves readable; `whole`, of whole words."""

    label: str
    n: int
    share: float
    interval: tuple[float, float]
    whole: Leak | None = None


def leaks(version: ModelVersion) -> tuple[Leak, ...]:
    """Return what surrogates would leave readable, as its training measured it; nothing where it did not."""
    found = (version.manifest.get("surrogates") or {}).get("missed", {})
    parsed = version.schema_version.parsed
    names = {label.key: label.name for head in parsed.of_kind(Kind.SPANS) for label in head.labels}
    return tuple(leak for key, one in found.items() if (leak := _leak(names.get(key, key), one)) is not None)


def _leak(name: str, found: dict[str, Any]) -> Leak | None:
    if not found["n"]:
        return None
    low, high = found["interval"]
    whole = _leak(name, found["whole"]) if "whole" in found else None
    return Leak(name, found["n"], found["share"], (low, high), whole)


def uncalibrated(version: ModelVersion) -> list[str]:
    """Return the heads that too few labels were held out of to say how sure their answers are."""
    heads = version.schema_version.parsed.by_key
    found = version.manifest.get("calibration", {})
    return [heads[key].name for key, how in found.items() if key in heads and how.get("rows") == 0]


def unanswered(version: ModelVersion) -> list[str]:
    """Return the heads that a version does not answer; none where its manifest does not tell."""
    parsed = version.schema_version.parsed
    return [head.name for head in parsed.heads if head.key not in version.manifest.get("heads", parsed.by_key)]


def faults(version: ModelVersion) -> list[str]:
    """Return in words how many spans of each head could not be learnt from, and why."""
    heads = version.schema_version.parsed.by_key
    found = []
    for key, counts in version.manifest.get("faults", {}).items():
        why = ", ".join(f"{counts[name]} {words}" for name, words in wording.SPAN_FAULTS.items() if counts.get(name))
        if why and key in heads:
            found.append(f"{heads[key].name}: {why}")
    return found


def _row(head: Head, found: dict[str, Any], other: dict[str, Any] | None) -> Comparison:
    metric = metrics.main_metric(head)
    return Comparison(
        head=head.name,
        metric=MEASURES[head.kind],
        n=found["n"],
        challenger=found[metric],
        interval=metrics.accuracy_interval(found[metric], found["n"]) if head.kind == Kind.CHOICE else None,
        champion=other[metric] if other else None,
        majority=found["majority"],
        ece=found.get("ece"),
        ece_interval=found.get("ece_interval"),
        ece_perfect=found.get("ece_perfect"),
    )


def report(version: ModelVersion) -> dict[str, Any]:
    """Return what was known of a version when it was put in use, for the ledger."""
    evaluation, other, rows = compare(version)
    if evaluation is None:
        return {}
    return {
        "snapshot": evaluation.snapshot_id,
        "test_source": evaluation.snapshot.test_source,
        "compared_with": other.pk if other else None,
        "heads": [{name: value for name, value in asdict(row).items() if name != "change"} for row in rows],
    }
