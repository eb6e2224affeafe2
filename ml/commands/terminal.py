"""What commands print: answers on the output stream, and how far they are on the error stream."""

from __future__ import annotations

import json
import sys

from ml.progress import Progress

BAR_WIDTH = 30


def answer(found: object) -> None:
    """Print one JSON object as a line."""
    sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")


def show(progress: Progress) -> None:
    """Draw a bar on the error stream, which keeps the output stream for the answer."""
    filled = BAR_WIDTH * progress.done // max(1, progress.total)
    loss = f"  loss {progress.loss:.3f}" if progress.loss is not None else ""
    bar = "#" * filled + "." * (BAR_WIDTH - filled)
    sys.stderr.write(f"\r{progress.phase:8} [{bar}] {progress.done}/{progress.total}{loss}   ")
    sys.stderr.flush()


def quiet_transformers() -> None:
    """Keep its own bars and reports off the error stream."""
    from transformers.utils import logging  # noqa: PLC0415 - takes seconds, and wrong arguments need no encoder

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
