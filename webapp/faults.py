"""Named points at which a process dies, as by kill -9, to prove that nothing is lost there; see tests/proof/chaos.py.

Only where FAULTS_DIR names a folder. A file in it with the name of a point kills the next process that comes there.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from django.conf import settings

POINTS = (
    "run-queued",  # Before a worker is told
    "training-saved",  # Before it is a version
    "training-stored",  # Before receipts
    "promotion-written",  # Before the rest of its transaction
    "promotion-committed",  # Before workers are told
    "cases-claimed",  # Before they are predicted
    "predictions-stored",  # Before the rest of the batches
    "outbox-written",  # Before a worker is told
    "tasks-pushed",  # Before we know of them
    "tasks-known",  # Before the outbox row is marked
    "tasks-withdrawn",
    "tasks-refreshed",
    "annotation-stored",  # Before the cursor moves
    "webhook-sent",  # Before that is kept
)


def point(name: str) -> None:
    """Die here if that is wanted, once."""
    if not settings.FAULTS_DIR:
        return
    try:
        (Path(settings.FAULTS_DIR) / name).unlink()  # Of several processes, one alone removes it
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
