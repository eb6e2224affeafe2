"""Surrogates: what stands in a text in the place of names, places and phone numbers, and the way back. Pure functions.

A covered string is a run of words, told by the words alone: neither case nor what stands between them counts. Wherever
it stands in the text it is covered, marked or not, by one surrogate: "Child A", "Town B", "Phone 1". No word of a
surrogate is a word of a covered string, so nothing that is covered can be read out of what is sent, nor arise in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, count
from string import ascii_uppercase
from typing import Any, TypeAlias

import phonenumbers

from ml.schema import Kind, Schema
from ml.types import HeadPrediction, Prediction, Span, spans_of

Key: TypeAlias = tuple[str, ...]  # The words of a covered string, case-folded

WORD = re.compile(r"[^\W_]+")
DIGITS = re.compile(r"\d(?:[ .()/-]{0,2}\d){8,}")  # More than a date has
PHONE = "Phone"
# What usually tells who somebody is, and the noun that stands in its place; other labels have their own name
NOUNS = {"VICTIM": "Child", "NAME": "Person", "LOCATION": "Town", "LANDMARK": "Landmark", "PHONE_NUMBER": PHONE}
OTHER_NOUNS = ("Someone", "Word")  # Where the noun itself is covered


@dataclass(frozen=True, slots=True)
class Piece:
    """A surrogate and the characters of the original text, `end` not included, in whose place it stands."""

    start: int
    end: int
    surrogate: str


@dataclass(frozen=True, slots=True)
class Cover:
    """What of a text is covered, in the order of the text. It holds no word of the text."""

    pieces: tuple[Piece, ...] = ()

    def as_json(self) -> list[list[Any]]:
        """Return the form that tables hold."""
        return [[piece.start, piece.end, piece.surrogate] for piece in self.pieces]

    @classmethod
    def from_json(cls, found: Iterable[Sequence[Any]]) -> Cover:
        """Read back what `as_json` wrote."""
        return cls(tuple(Piece(*piece) for piece in found))

    def applied(self, text: str) -> str:
        """Return the original text with the surrogates in it."""
        parts, done = [], 0
        for piece in self.pieces:
            parts += [text[done : piece.start], piece.surrogate]
            done = piece.end
        return "".join([*parts, text[done:]])

    def out(self, start: int, end: int) -> tuple[int, int]:
        """Return where a range of the original is in the covered text; one that cuts a surrogate takes all of it."""
        ours = [(piece.start, piece.end) for piece in self.pieces]
        return _moved(start, end, ours, self._there())

    def back(self, start: int, end: int) -> tuple[int, int]:
        """Return where a range of the covered text is in the original; one that cuts a surrogate takes all of it."""
        ours = [(piece.start, piece.end) for piece in self.pieces]
        return _moved(start, end, self._there(), ours)

    def spans_out(self, spans: Iterable[Span]) -> list[Span]:
        """Return spans of the original text as spans of the covered one, those that become the same once."""
        found: dict[tuple[int, int, str], Span] = {}
        for span in spans:
            start, end = self.out(span["start"], span["end"])
            found.setdefault((start, end, span["label"]), {**span, "start": start, "end": end})
        return [found[place] for place in sorted(found)]

    def spans_back(self, spans: Iterable[Span], known: Iterable[Span] = ()) -> list[Span]:
        """Return spans of the covered text as spans of the original.

        Args:
            spans: what people left or marked.
            known: spans of the original that they were shown: one that they left stands exactly as it was.
        """
        shown: dict[tuple[int, int, str], list[Span]] = {}
        for one in known:
            shown.setdefault((*self.out(one["start"], one["end"]), one["label"]), []).append(one)
        found = set()
        for span in spans:
            same = shown.get((span["start"], span["end"], span["label"]))
            if same is None:
                found.add((*self.back(span["start"], span["end"]), span["label"]))
            else:
                found |= {(one["start"], one["end"], one["label"]) for one in same}
        return [Span(start=start, end=end, label=label) for start, end, label in sorted(found)]

    def given(self, text: str) -> dict[Key, str]:
        """Return which surrogate each covered string of the original text has."""
        found: dict[Key, str] = {}
        for piece in self.pieces:
            found.setdefault(_key(text[piece.start : piece.end]), piece.surrogate)
        return found

    def is_whole(self, start: int, end: int) -> bool:
        """Whether a range of the original text is covered whole, but for what is no word."""
        return any(piece.start <= start and end <= piece.end for piece in self.pieces)

    def _there(self) -> list[tuple[int, int]]:
        grown = accumulate((len(piece.surrogate) - piece.end + piece.start for piece in self.pieces), initial=0)
        return [
            (piece.start + shift, piece.start + shift + len(piece.surrogate))
            for piece, shift in zip(self.pieces, grown, strict=False)
        ]


def nouns(schema: Schema, labels: Iterable[str]) -> dict[str, str]:
    """Return the labels of entities that are to be covered and that the schema has, each with its noun."""
    names = {label.key: label.name for head in schema.of_kind(Kind.SPANS) for label in head.labels}
    return {key: NOUNS.get(key, names[key]) for key in labels if key in names}


def spans_said(schema: Schema, prediction: Prediction) -> list[Span]:
    """Return the entities of a prediction."""
    heads = [prediction[head.key] for head in schema.of_kind(Kind.SPANS) if head.key in prediction]
    return [span for head in heads for span in spans_of(head.answer)]


def cover(
    text: str, spans: Iterable[Span], nouns: Mapping[str, str], *, region: str, known: Mapping[Key, str] | None = None
) -> Cover:
    """Return what is to be covered of a text: the entities with certain labels and the phone numbers.

    Args:
        text: the original.
        spans: entities of any labels; a span that cuts a word takes all of it, and those that overlap are one.
        nouns: the labels to cover, each with what stands before the letter.
        region: where phone numbers without a country code are from, as ISO 3166 names it; "" finds only those with.
        known: strings that are covered elsewhere and so here too, by the same surrogate if it can be.
    """
    words = list(WORD.finditer(text))
    folded = [word.group().casefold() for word in words]
    marked = [(span["start"], span["end"], nouns[span["label"]]) for span in spans if span["label"] in nouns]
    marked += [(start, end, PHONE) for start, end in phones(text, region)]
    known = known or {}
    noun_of: dict[Key, str] = {}
    runs = []
    for start, end, noun in marked:
        inside = [place for place, word in enumerate(words) if word.start() < end and start < word.end()]
        if inside:
            runs.append((inside[0], inside[-1] + 1))
            noun_of.setdefault(tuple(folded[inside[0] : inside[-1] + 1]), noun)
    runs = _merged([*runs, *_found(folded, {*noun_of, *known})])
    while more := _merged([*runs, *_found(folded, {tuple(folded[first:last]) for first, last in runs})]):
        if more == runs:  # What overlapped is covered as one, and so wherever it stands
            break
        runs = more
    keys = [tuple(folded[first:last]) for first, last in runs]
    names = _Names({word for key in [*keys, *noun_of, *known] for word in key}, folded)
    surrogates: dict[Key, str] = {}
    for key in keys:
        if key not in surrogates and key in known and names.take(known[key]):
            surrogates[key] = known[key]
    names.taken |= set(known.values())  # Another string's, though it is not in this text
    for key in keys:
        if key not in surrogates:
            surrogates[key] = names.make(noun_of.get(key) or _noun(key, noun_of))
    return Cover(
        tuple(
            Piece(words[first].start(), words[last - 1].end(), surrogates[key])
            for (first, last), key in zip(runs, keys, strict=True)
        )
    )


def hide(text: str, given: Mapping[Key, str], *, region: str) -> str:
    """Return another text about the same, a note, with the same strings covered, and phone numbers."""
    words = list(WORD.finditer(text))
    folded = [word.group().casefold() for word in words]
    numbers = [
        (inside[0], inside[-1] + 1)
        for start, end in phones(text, region)
        if (inside := [place for place, word in enumerate(words) if word.start() < end and start < word.end()])
    ]
    runs = _merged([*_found(folded, given), *numbers])
    pieces = [
        Piece(words[first].start(), words[last - 1].end(), given.get(tuple(folded[first:last]), "(hidden)"))
        for first, last in runs
    ]
    return Cover(tuple(pieces)).applied(text)


def left(text: str, found: Cover) -> int:
    """Count the covered strings that can still be read in a covered text: never any."""
    sent = [word.group().casefold() for word in WORD.finditer(found.applied(text))]
    return sum(1 for _ in _found(sent, found.given(text)))


def phones(text: str, region: str) -> list[tuple[int, int]]:
    """Return where phone numbers are: those that can be one, and any other digits that are as many.

    People say their own number wrongly, and those of other countries as if they were at home.
    """
    valid = phonenumbers.PhoneNumberMatcher(text, region or None)
    return [(match.start, match.end) for match in valid] + [match.span() for match in DIGITS.finditer(text)]


def is_region(region: str) -> bool:
    """Whether phone numbers of a region are known; "" stands for none."""
    return region == "" or region in phonenumbers.SUPPORTED_REGIONS


def as_shown(prediction: Prediction, schema: Schema, found: Cover) -> Prediction:
    """Return a prediction on a text as one on the covered text."""
    heads = {head.key for head in schema.of_kind(Kind.SPANS)}
    return {
        key: HeadPrediction(found.spans_out(spans_of(said.answer)), said.confidence, said.probabilities)
        if key in heads
        else said
        for key, said in prediction.items()
    }


@dataclass
class _Names:
    """Gives out surrogates. None has a word of a covered string, stands in the text, or is given twice."""

    covered: set[str]
    text: Sequence[str]

    def __post_init__(self) -> None:
        self.taken: set[str] = set()

    def take(self, surrogate: str) -> bool:
        """Take a surrogate that was given elsewhere; tell whether it can be."""
        key = _key(surrogate)
        if surrogate in self.taken or self.covered & {*key} or any(_found(self.text, [key])):
            return False
        self.taken.add(surrogate)
        return True

    def make(self, noun: str) -> str:
        """Return the next surrogate of a noun, or of another where that is covered itself."""
        tries = (one for one in (noun, *OTHER_NOUNS, *(f"X{number}" for number in range(len(self.covered) + 1))))
        noun = next(one for one in tries if not self.covered & {*_key(one)})
        has_number = noun == PHONE
        letters = {surrogate.rpartition(" ")[2] for surrogate in self.taken}
        for number in count():
            mark = str(number + 1) if has_number else _letters(number)
            if (has_number or mark not in letters) and self.take(f"{noun} {mark}"):
                return f"{noun} {mark}"
        raise AssertionError("numbers end")


def _letters(number: int) -> str:
    """Return A to Z, AA, AB and so on."""
    found = ""
    while number >= 0:
        number, rest = divmod(number, len(ascii_uppercase))
        found, number = ascii_uppercase[rest] + found, number - 1
    return found


def _noun(key: Key, noun_of: Mapping[Key, str]) -> str:
    """Return the noun of what was marked within a string; of one that is known from elsewhere that is not told."""
    return next((noun for part, noun in noun_of.items() if any(_found(key, [part]))), OTHER_NOUNS[0])


def _key(text: str) -> Key:
    return tuple(word.casefold() for word in WORD.findall(text))


def _found(words: Sequence[str], keys: Iterable[Key]) -> Iterator[tuple[int, int]]:
    """Yield where strings stand among words, as ranges of words."""
    by_first: dict[str, set[Key]] = {}
    for key in keys:
        if key:
            by_first.setdefault(key[0], set()).add(key)
    for place, word in enumerate(words):
        for key in by_first.get(word, ()):
            if tuple(words[place : place + len(key)]) == key:
                yield place, place + len(key)


def _merged(runs: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return ranges in order, those that overlap as one."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(runs):
        if found and first < found[-1][1]:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found


def _moved(start: int, end: int, there: Sequence[tuple[int, int]], here: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Move a range from one text to the other, given where the pieces are in both."""
    first, last = start, end
    for (begin, until), (to_begin, to_until) in zip(there, here, strict=True):
        if begin <= start:
            first = to_begin if start < until else start + to_until - until
        if begin < end:
            last = to_until if end <= until else end + to_until - until
    return first, last
