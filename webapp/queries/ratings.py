"""Reading how agents rate."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import Avg, Count, Max, Min
from django.utils import timezone

from webapp.models import Case, Feedback


def of_call(source: str, call_id: str, *, task: str | None = None) -> list[Feedback]:
    """Return the ratings of a call, by task."""
    found = Feedback.objects.filter(source=source, external_id=call_id)
    found = found.select_related("case__current_prediction").order_by("task")
    return list(found.filter(task=task) if task else found)


def statistics(source: str, *, days: int, task: str | None = None) -> dict[str, dict[str, Any]]:
    """Return by task how the ratings of some days are, and for which share of the cases of these days there is one."""
    since = timezone.now() - timedelta(days=days)
    total = Case.objects.filter(source=source, received_at__gte=since).exclude(current_prediction=None).count()
    found = Feedback.objects.filter(source=source, created_at__gte=since)
    if task:
        found = found.filter(task=task)
    rows = found.values("task").annotate(n=Count("pk"), mean=Avg("rating"), least=Min("rating"), most=Max("rating"))
    return {
        row["task"]: {
            "total_predictions": total,
            "rated_predictions": row["n"],
            "rating_coverage": round(row["n"] / total, 2) if total else 0.0,
            "average_rating": round(row["mean"], 2),
            "min_rating": row["least"],
            "max_rating": row["most"],
        }
        for row in rows.order_by("task")
    }
