"""The escalations: those that nobody has acknowledged, and how long the others took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from webapp.models import Escalation

SHOWN = 100


@dataclass(frozen=True, slots=True)
class Handled:
    """An escalation that was acknowledged, after so many seconds."""

    escalation: Escalation
    seconds: float


def open_ones() -> list[Escalation]:
    """Return what nobody has acknowledged, the oldest first."""
    found = Escalation.objects.filter(acknowledgement=None).select_related("case", "person")
    return list(found.order_by("id"))


def handled() -> list[Handled]:
    """Return the newest that were acknowledged."""
    found = Escalation.objects.exclude(acknowledgement=None).select_related("case", "person", "acknowledgement__person")
    return [Handled(one, (one.acknowledgement.at - one.at).total_seconds()) for one in found.order_by("-id")[:SHOWN]]


def typical(found: Sequence[Handled]) -> float | None:
    """Return the median time to an acknowledgement in seconds; None where there was none yet."""
    return median(one.seconds for one in found) if found else None
