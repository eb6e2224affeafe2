"""The notation of the demo's parts, and how it becomes text with exact spans.

A part is a sentence with slots in braces and marks in brackets: "{Perp} [beats {him}](INCIDENT_TYPE)." A slot is
replaced by a word, which may hold slots and marks again; a mark becomes a span. Slots let a sentence be told by the
child itself and by somebody else: "{He} {has} lost {his} shoes" is "I have lost my shoes" or "She has lost her shoes".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ml.types import Span

Words = dict[str, str]

_SLOT = re.compile(r"\{(\w+)\}")
_MARK = re.compile(r"\[|\]\(([A-Z_]+)\)")

# One column for each grammatical person: what a slot says of the one whom the case is about
_PEOPLE = {
    "first": "I me my mine myself am was have do                  ni si angu ni ni ni",
    "second": "you you your yours yourself are were have do          u hu ako ku ku ku",
    "f": "she her her hers herself is was has does s es ies    a ha ake m mu mw",
    "m": "he him his his himself is was has does s es ies      a ha ake m mu mw",
}
_ENGLISH = ("he", "him", "his", "theirs", "himself", "is", "was", "has", "does")
_ENDINGS = {"s": "", "es": "", "ies": "y"}
_SWAHILI = ("a", "ha", "ake", "m", "mu", "mw")


def words_for(person: str) -> Words:
    """Return the slots that agree with a person: `first`, `second`, or the third as `f` or `m`."""
    columns = _PEOPLE[person].split()
    words = dict(zip(_ENGLISH, columns, strict=False)) | dict(zip(_SWAHILI, columns[-len(_SWAHILI) :], strict=True))
    words |= _ENDINGS if person in ("first", "second") else {ending: ending for ending in _ENDINGS}
    return words | {capital(slot): capital(word) for slot, word in words.items()}


def capital(text: str) -> str:
    """Return the text with its first letter, which may stand in a mark, in upper case."""
    return re.sub(r"^(\[*)(\w)", lambda found: found[1] + found[2].upper(), text)


def mark(text: str, label: str) -> str:
    """Return the notation for a labelled stretch; an article before it stays outside."""
    article, rest = ("the ", text[4:]) if text.startswith("the ") else ("", text)
    return f"{article}[{rest}]({label})"


def fill(part: str, words: Mapping[str, str]) -> str:
    """Replace the slots of a part, and those of the words that they bring.

    Raises:
        KeyError: a slot has no word.
    """
    while _SLOT.search(part):
        part = _SLOT.sub(lambda found: words[found[1]], part)
    return part


@dataclass
class Transcript:
    """A text that grows, with the spans of everything that was marked in it."""

    text: str = ""
    spans: list[Span] = field(default_factory=list)

    def write(self, marked: str) -> None:
        """Append filled notation.

        Raises:
            ValueError: a mark is not closed.
        """
        open_at: list[int] = []
        position = 0
        for found in _MARK.finditer(marked):
            self.text += marked[position : found.start()]
            position = found.end()
            if found[1] is None:
                open_at.append(len(self.text))
            else:
                self.spans.append(Span(start=open_at.pop(), end=len(self.text), label=found[1]))
        if open_at:
            raise ValueError(f"a mark is not closed in {marked!r}")
        self.text += marked[position:]

    def sorted_spans(self) -> list[Span]:
        """Return the spans in the order of the text."""
        return sorted(self.spans, key=lambda span: (span["start"], span["end"], span["label"]))
