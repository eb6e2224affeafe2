"""Which snapshots and versions used a case, and which versions learnt from cases that are gone since."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Q, QuerySet

from ml.policy import Side
from webapp.models import Case, CaseState, ModelVersion, Schema, Snapshot
from webapp.queries import schemas


@dataclass(frozen=True, slots=True)
class Use:
    """One snapshot that holds a case, and the versions that were made with it."""

    snapshot: Snapshot
    side: str
    versions: tuple[ModelVersion, ...]

    @property
    def is_learnt(self) -> bool:
        """Whether these versions learnt from the case; on the test side they were only measured on it."""
        return self.side != Side.TEST


@dataclass(frozen=True, slots=True)
class Taint:
    """A version in use that learnt from cases that were erased since."""

    schema: Schema
    version: ModelVersion
    cases: int


def of(case: Case) -> list[Use]:
    """Return the snapshots that hold a case, the newest first."""
    found = []
    for row in case.snapshot_rows.select_related("snapshot").order_by("-snapshot_id"):
        versions = ModelVersion.objects.filter(run__snapshot=row.snapshot_id).order_by("number")
        found.append(Use(row.snapshot, row.side, tuple(versions)))
    return found


def erased(version: ModelVersion) -> QuerySet[Case]:
    """Return the cases that a version learnt from and that were erased since."""
    learnt = Q(snapshot_rows__snapshot__runs__version=version) & ~Q(snapshot_rows__side=Side.TEST)
    return Case.objects.filter(learnt, state=CaseState.ERASED).distinct().order_by("pk")


def taints() -> list[Taint]:
    """Return the versions in use that should be replaced by ones that never saw what was erased."""
    found = []
    for schema in Schema.objects.order_by("-name"):
        version = schemas.champion(schema)
        if version is not None and (cases := erased(version).count()):
            found.append(Taint(schema, version, cases))
    return found
