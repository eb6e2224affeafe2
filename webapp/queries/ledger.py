"""The ledger: which version was in use from when to when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from webapp.models import ModelVersion, Promotion, Schema
from webapp.queries import clock


@dataclass(frozen=True, slots=True)
class Reign:
    """One row of the ledger, with the moment at which the next took its place; None while it is in use."""

    promotion: Promotion
    until: datetime | None

    def covers(self, moment: datetime) -> bool:
        """Whether the version was in use at a moment."""
        return self.promotion.promoted_at <= moment and (self.until is None or moment < self.until)

    def as_json(self) -> dict[str, Any]:
        """Return the form that programs read."""
        row = self.promotion
        return {
            "version": row.version.number,
            "from": row.promoted_at.isoformat(),
            "until": self.until and self.until.isoformat(),
            "by": row.promoted_by and row.promoted_by.username,
            "reason": row.reason,
            "replaced": row.replaced and row.replaced.number,
            "is_rollback": row.is_rollback,
            "report": row.report,
        }

    def in_words(self) -> str:
        """Return a line for people."""
        row = self.promotion
        end = f"until {clock.written(self.until)}" if self.until else "on"
        how = "went back to" if row.is_rollback else "put in use"
        by = row.promoted_by or "Caseloop"
        begin = clock.written(row.promoted_at)
        return f"version {row.version.number}: from {begin} {end}; {how} by {by}: {row.reason}"


def reigns(schema: Schema) -> list[Reign]:
    """Return the whole ledger of a schema, newest first."""
    rows = list(schema.promotions.select_related("version", "replaced", "promoted_by").order_by("-id"))
    later = [None, *rows]
    return [Reign(row, after.promoted_at if after else None) for row, after in zip(rows, later, strict=False)]


def until(row: Promotion) -> datetime | None:
    """Return when the next row took a row's place; None while it is in force."""
    later = Promotion.objects.filter(schema=row.schema_id, pk__gt=row.pk).order_by("id")
    return later.values_list("promoted_at", flat=True).first()


def earlier(schema: Schema) -> ModelVersion | None:
    """Return the version to go back to: the one before that in use, which nobody has gone back from already."""
    held: list[ModelVersion] = []
    for row in schema.promotions.select_related("version").order_by("id"):
        if row.is_rollback and len(held) > 1:
            held.pop()
        else:
            held.append(row.version)
    return held[-2] if len(held) > 1 else None
