"""The ledger: which version was in use from when to when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from webapp.models import ModelVersion, Promotion, Schema


@dataclass(frozen=True, slots=True)
class Reign:
    """One row of the ledger, with the moment at which the next took its place; None while it is in use."""

    promotion: Promotion
    until: datetime | None


def reigns(schema: Schema) -> list[Reign]:
    """Return the whole ledger of a schema, newest first."""
    rows = list(schema.promotions.select_related("version", "replaced", "promoted_by").order_by("-id"))
    later = [None, *rows]
    return [Reign(row, after and after.promoted_at) for row, after in zip(rows, later, strict=False)]


def until(row: Promotion) -> datetime | None:
    """Return when the next row took a row's place; None while it is in force."""
    later = Promotion.objects.filter(schema=row.schema_id, pk__gt=row.pk).order_by("id")
    return later.values_list("promoted_at", flat=True).first()


def in_use_at(schema: Schema, moment: datetime) -> Promotion | None:
    """Return the row of the ledger that was in force at a moment; None before the first."""
    before = schema.promotions.filter(promoted_at__lte=moment)
    return before.select_related("version", "promoted_by").order_by("-id").first()


def earlier(schema: Schema) -> ModelVersion | None:
    """Return the version to go back to: the one before that in use, which nobody has gone back from already."""
    held: list[ModelVersion] = []
    for row in schema.promotions.select_related("version").order_by("id"):
        if row.is_rollback and len(held) > 1:
            held.pop()
        else:
            held.append(row.version)
    return held[-2] if len(held) > 1 else None
