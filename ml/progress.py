"""How far long work is. Standard library only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` texts, batches or epochs of a phase, with the last loss in nats and the measures by head.

    `epoch` is the one that has just ended and been measured, from 1; None in between, and in phases without epochs.
    """

    phase: str
    done: int
    total: int
    loss: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    epoch: int | None = None


OnProgress: TypeAlias = Callable[[Progress], None]  # May raise, which ends the work


def ignore(_: Progress) -> None:
    """Tell nobody."""
