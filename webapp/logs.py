"""One line for each log record: the message is constant, the facts stand in `extra`.

Facts are ids and numbers. A case's text must not be logged at all; that a long fact is cut to its length here is only a
second net.
"""

from __future__ import annotations

import logging

STANDARD = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
LONGEST_FACT = 120


class LineFormatter(logging.Formatter):
    """Write time, level, logger, message and the facts as key=value."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Append the facts of `extra`; a long text is replaced by its length."""
        line = super().format(record)
        facts = {key: value for key, value in record.__dict__.items() if key not in STANDARD}
        return line + "".join(f" {key}={_shown(value)}" for key, value in sorted(facts.items()))


def _shown(value: object) -> str:
    text = str(value).replace("\n", "\\n").replace("\r", "\\r")  # A line of the log cannot be forged
    return text if len(text) <= LONGEST_FACT else f"<{len(text)} characters>"
