"""One line for each log record: the message is constant, the facts stand in `extra`.

Facts are ids and numbers, the id of the request or task among them. A case's text must not be logged at all; that a
long fact is cut to its length here is only a second net. Of an exception only the type and the frames are written,
because its message may quote a text: a tokenizer says what it could not read, a database which row it refused. Only
our own errors, written for people, are quoted.
"""

from __future__ import annotations

import copy
import logging
import re
import traceback
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

from annotate.errors import AnnotateError
from webapp.errors import CaseloopError

STANDARD = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
FOREIGN = {"data"}  # Celery repeats there all that it knows of a failed task, message and arguments included
LONGEST_FACT = 120
QUOTABLE = (CaseloopError, AnnotateError)

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class LineFormatter(logging.Formatter):
    """Write time, level, logger, message and the facts as key=value; below them, the frames of an exception."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Append the facts of `extra`; a long text is replaced by its length, an exception by its type."""
        record = copy.copy(record)
        record.msg, record.args = _safe(record.msg), _without_messages(record.args)
        facts = {key: value for key, value in record.__dict__.items() if key not in STANDARD | FOREIGN}
        if facts.get("request_id") is None:  # Outside of requests and tasks
            facts.pop("request_id", None)
        frames = self.formatException(record.exc_info) if record.exc_info else ""
        record.exc_info, record.exc_text = None, None  # The text may be another formatter's, with the message
        line = super().format(record)
        return line + "".join(f" {key}={_shown(value)}" for key, value in sorted(facts.items())) + frames

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802 - the name that logging calls
        """Write the types of an exception and of those that led to it, each with file, line and function."""
        kind, exc, found = ei
        if kind is None or exc is None:
            return ""
        lines = [_described(exc, kind), *_frames(found)]
        seen, cause = {id(exc)}, _cause(exc)
        while cause is not None and id(cause) not in seen:
            seen.add(id(cause))
            lines += [f"after {_described(cause)}", *_frames(cause.__traceback__)]
            cause = _cause(cause)
        return "".join(f"\n  {line}" for line in lines)


def _without_messages(args: Any) -> Any:
    if isinstance(args, Mapping):
        # Celery's words for a failed task; `exc` is the text of the exception already
        return {key: _kind(value) if key in ("exc", "traceback") else _safe(value) for key, value in args.items()}
    return tuple(_safe(value) for value in args) if isinstance(args, tuple) else args


def _safe(value: object) -> object:
    return _described(value) if isinstance(value, BaseException) else value


def _kind(value: object) -> str:
    found = re.match(r"\w+(?=\()", str(value))  # "ValueError('...')"
    return found[0] if found else "an exception"


def _described(exc: BaseException, kind: type[BaseException] | None = None) -> str:
    name = (kind or type(exc)).__name__  # Celery may wrap what was raised, and names its type beside it
    return f"{name}: {_one_line(exc)}" if isinstance(exc, QUOTABLE) else name


def _frames(found: TracebackType | None) -> Iterator[str]:
    for frame, line in traceback.walk_tb(found):
        yield f"  {frame.f_code.co_filename}:{line} in {frame.f_code.co_name}"


def _cause(exc: BaseException) -> BaseException | None:
    return exc.__cause__ or (None if exc.__suppress_context__ else exc.__context__)


def _one_line(value: object) -> str:
    return str(value).replace("\n", "\\n").replace("\r", "\\r")  # A line of the log cannot be forged


def _shown(value: object) -> str:
    text = _one_line(_safe(value))
    return text if len(text) <= LONGEST_FACT else f"<{len(text)} characters>"
