"""Waiting for a run, and saying how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable

from webapp.models import Run
from webapp.queries import wording

LOOK_SECONDS = 0.5
TELL_SECONDS = 10.0  # Between two lines, so that a log of a start stays short


def until_ended(run: Run, tell: Callable[[str], object]) -> Run:
    """Wait until a run has ended, and tell now and then how far it is."""
    told = time.monotonic()
    while run.is_open:
        time.sleep(LOOK_SECONDS)
        run.refresh_from_db()
        if run.is_open and run.progress and time.monotonic() - told >= TELL_SECONDS:
            tell(f"  {wording.progress(run.progress)}")
            told = time.monotonic()
    return run
