"""A transcript as the page of a case shows it: turn by turn, with what covers its words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

LONGEST_SPEAKER = 60  # Characters before the colon; a longer beginning is a sentence
MANNER = re.compile(r"(?P<name>[^(\[]+?)\s*[(\[](?P<manner>[^()\[\]]*)[)\]]")
STRENGTHS = 3  # Shades of the words that a head looked at


@dataclass(frozen=True, slots=True)
class SpanView:
    """One entity with the words it covers."""

    value: str  # "start:end:label", as the form sends it
    name: str
    words: str
    confidence: str = ""
    is_said: bool = False  # Whether the model marked it
    is_chosen: bool = True


@dataclass(frozen=True, slots=True)
class Piece:
    """Words that one entity covers, or none, and that the same heads looked at, each with a strength from 1 to 3."""

    words: str
    entity: str = ""
    span: str = ""  # The entity's value
    is_last: bool = False  # Of its entity, whose name follows
    looks: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Turn:
    """What one speaker says; `start` is where it begins in the text, in characters."""

    speaker: str
    manner: str
    start: int
    pieces: tuple[Piece, ...]


def turns(text: str, spans: Sequence[SpanView] = (), looks: Mapping[str, Any] | None = None) -> tuple[Turn, ...]:
    """Cut a transcript into turns: a line that begins "Somebody:", or "Somebody (in tears):", begins one.

    A line that does not is a turn of nobody, as a summary is.

    Args:
        looks: of each head, the words that it looked at, as `Prediction.looks` holds them.
    """
    marks = sorted((int(start), int(end), span) for span in spans for start, end, _ in [span.value.split(":", 2)])
    words = _by_word(looks or {})
    found = []
    offset = 0
    for line in text.split("\n"):
        speaker, colon, said = line.partition(":")
        begins = bool(colon) and 0 < len(speaker.strip()) <= LONGEST_SPEAKER and bool(said.strip())
        start = offset + (len(speaker) + 1 if begins else 0)
        start += len(text[start : offset + len(line)]) - len(text[start : offset + len(line)].lstrip())
        if line.strip():
            split = MANNER.fullmatch(speaker.strip()) if begins else None
            name, manner = (split["name"], split["manner"]) if split else (speaker.strip() if begins else "", "")
            found.append(Turn(name, manner, start, tuple(_pieces(text, start, offset + len(line), marks, words))))
        offset += len(line) + 1
    return tuple(found)


def _by_word(looks: Mapping[str, Any]) -> list[tuple[int, int, tuple[tuple[str, int], ...]]]:
    """Gather what the heads looked at word by word, in the order of the text."""
    found: dict[tuple[int, int], list[tuple[str, int]]] = {}
    for head, words in looks.items():
        most = max((weight for _, _, weight in words), default=0.0)
        for start, end, weight in words:
            if weight > 0:
                strength = min(STRENGTHS, 1 + int(STRENGTHS * weight / most))
                found.setdefault((start, end), []).append((head, strength))
    return [(start, end, tuple(heads)) for (start, end), heads in sorted(found.items())]


def _pieces(
    text: str,
    start: int,
    end: int,
    marks: Sequence[tuple[int, int, SpanView]],
    words: Sequence[tuple[int, int, tuple[tuple[str, int], ...]]],
) -> list[Piece]:
    inside = []
    covered = start
    for first, last, span in marks:
        if covered <= first < last <= end:  # Of two that overlap the first is drawn; the form lists both
            inside.append((first, last, span))
            covered = last
    looked = [(first, last, heads) for first, last, heads in words if first >= start and last <= end]
    cuts = sorted({start, end, *(place for first, last, _ in [*inside, *looked] for place in (first, last))})
    pieces = []
    for first, last in pairwise(cuts):
        covering = next(((until, span) for begin, until, span in inside if begin <= first and last <= until), None)
        heads = next((heads for begin, until, heads in looked if begin <= first and last <= until), ())
        entity = (covering[1].name, covering[1].value, last == covering[0]) if covering else ("", "", False)
        pieces.append(Piece(text[first:last], *entity, heads))
    return pieces
