"""Taking out of values what PostgreSQL does not store: NUL characters, halves of characters, numbers JSON lacks."""

from __future__ import annotations

import hashlib
import math
import re
from bisect import bisect_left
from typing import Any

from ml.schema import Kind, Schema
from ml.types import Labels, Span

REMOVED = re.compile("\x00|\r(?=\n)")
HALF = re.compile("[\ud800-\udfff]")  # One half of a surrogate pair: JSON can spell it, UTF-8 cannot


def clean(value: Any) -> Any:
    """Return a JSON value that can be stored, at most as deep as rows may be."""
    if isinstance(value, str):
        return HALF.sub("\ufffd", value.replace("\x00", ""))
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {clean(key): clean(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [clean(inner) for inner in value]
    return value


def clean_text(text: str) -> str:
    """Return the text of a case as it is stored, with one character for each line end."""
    return HALF.sub("\ufffd", REMOVED.sub("", text))


def hash_of(text: str) -> str:
    """Return the SHA-256 of a text as it is stored, by which snapshots know it."""
    return hashlib.sha256(text.encode()).hexdigest()


def moved(schema: Schema, labels: Labels, text: str) -> Labels:
    """Return labels of a text as it came as labels of its cleaned form: spans stay on their words."""
    removed = [found.start() for found in REMOVED.finditer(text)]
    if not removed:
        return labels
    spans = {head.key for head in schema.of_kind(Kind.SPANS)}
    return {
        head: [_moved(span, removed) for span in answer] if head in spans else answer  # type: ignore[arg-type]
        for head, answer in labels.items()
    }


def _moved(span: Span, removed: list[int]) -> Span:
    start, end = (place - bisect_left(removed, place) for place in (span["start"], span["end"]))
    return Span(start=start, end=end, label=span["label"])
