"""Turn Ctrl-C and its like into an exception, once: what stops the rest must not be interrupted itself."""

import signal
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """Somebody asked us to stop."""


def heed() -> None:
    """Raise Interrupted in the main thread at the first signal, and ignore the later ones."""
    for number in SIGNALS:
        signal.signal(number, _interrupt)


def ignore() -> None:
    """Ignore the signals from now on."""
    for number in SIGNALS:
        signal.signal(number, _pass_over)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    ignore()
    raise Interrupted


def _pass_over(_number: int, _frame: FrameType | None) -> None:
    pass  # Not SIG_IGN: programs that we start would inherit that
