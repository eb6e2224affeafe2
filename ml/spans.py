"""Spans of a text as tags of its words, and back. numpy only.

Tag 0 of a head is outside; 1 + 2k begins a span of label k and 2 + 2k continues it. A label is continued only after its
own beginning or continuation. A network scores each word's tags apart from those of its neighbours, so the probability
of a whole sequence is the product over its words, shared out among the sequences that obey this rule.

Sizes: n words of a text, L labels, T = 1 + 2L tags, B texts side by side. Words are half-open character ranges, (n, 2),
in order and apart from each other.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from operator import itemgetter
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ml.scales import Floats, HeadCalibration, log_odds, log_softmax
from ml.schema import Head
from ml.types import Span

Ints: TypeAlias = NDArray[np.intp]

SIDE_BY_SIDE = 256  # Parts of texts that are decoded together
UNLIKELY = 1e-4  # Chance of being in a span below which a word is taken as outside; no confidence changes by much more
FAINTEST = -600.0  # Least log-probability of a tag: ratios of such are still finite
LENGTHS = (1, 3, 6, 10)  # Longest word of each length bucket, in characters; longer ones share the last
SHAPES = (
    "begins with a capital",
    "all letters are capitals",
    "all letters are small",
    "digits only",
    "has a digit",
    "no letter and no digit",
    "begins a sentence, a line or a speaker's turn",
    *(f"up to {length} characters" for length in LENGTHS),
    "longer",
)
N_SHAPES = len(SHAPES)

_SENTENCE = re.compile(r"(?:\n|[.?!…][^\w\s]*\s)\s*[^\w\s]*")  # With the quotes and brackets about it
_SPEAKER = re.compile(r"^[ \t]*\w[\w .'-]{0,29}:[ \t]*", re.MULTILINE)  # "Caller:", "Agent 2:"


@dataclass(frozen=True, slots=True)
class SpanFaults:
    """How many spans of an answer could not become tags, by why; they add up over a data set."""

    empty: int = 0  # No word inside
    duplicate: int = 0
    overlapping: int = 0  # A longer one, or an earlier one as long, has some of its words
    misaligned: int = 0  # An end cuts into a word
    unknown: int = 0  # The schema has no such label any more

    def __add__(self, other: SpanFaults) -> SpanFaults:
        return SpanFaults(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))

    @property
    def total(self) -> int:
        """How many there are of all kinds."""
        return sum(getattr(self, one.name) for one in fields(self))


class _Found(NamedTuple):
    first: int  # Word
    last: int  # Word, included
    label: int
    log_prob: float


def encode(answer: Sequence[Span], words: Ints, head: Head) -> tuple[Ints, SpanFaults]:
    """Return the tags of a text's words, (n,), and how many spans were left out.

    A span holds the words that lie in it; white space at its ends is no fault.
    """
    tags = np.zeros(len(words), dtype=np.intp)
    faults = dict.fromkeys((one.name for one in fields(SpanFaults)), 0)
    found: list[tuple[int, int, str]] = []  # First word, the word after the last, label
    seen: set[tuple[int, int, str]] = set()
    for span in answer:
        start, end, label = span["start"], span["end"], span["label"]
        place = (start, end, label)
        inside = (
            int(np.searchsorted(words[:, 0], start)),
            int(np.searchsorted(words[:, 1], end, side="right")),
            label,
        )
        if start >= end:
            faults["empty"] += 1
        elif label not in head.by_key:
            faults["unknown"] += 1
        elif place in seen:
            faults["duplicate"] += 1
        elif _cuts(start, words) or _cuts(end, words):
            faults["misaligned"] += 1
        elif inside[0] >= inside[1]:
            faults["empty"] += 1
        elif inside in found:
            faults["duplicate"] += 1
        else:
            found.append(inside)
        seen.add(place)
    for first, after, label in sorted(found, key=lambda one: (_length(one, words), one)):
        if tags[first:after].any():
            faults["overlapping"] += 1
            continue
        begins = 1 + 2 * head.keys.index(label)
        tags[first:after] = begins + 1
        tags[first] = begins
    return tags, SpanFaults(**faults)


def decode(scores: Floats, words: Ints, head: Head, calibration: HeadCalibration) -> list[Span]:
    """Return the spans of the most probable sequence of tags, in order, each with its calibrated probability.

    Args:
        scores: raw scores of one text, (n, T).
        words: (n, 2).
        head: its labels.
        calibration: what was learnt of the head.
    """
    return decode_all([scores], [words], head, calibration)[0]


def decode_all(
    scores: Sequence[Floats], words: Sequence[Ints], head: Head, calibration: HeadCalibration
) -> list[list[Span]]:
    """Return for each of several texts what `decode` does, much faster than one by one.

    Words that are as good as certainly outside part a text: what lies between them is decoded by itself, and that of
    all texts side by side, since numpy's cost is per step.
    """
    answers: list[list[Span]] = [[] for _ in scores]
    tags = [np.maximum(log_softmax(one / calibration.temperature), FAINTEST) if len(one) else one for one in scores]
    parts = sorted(
        ((row, start, stop) for row, one in enumerate(tags) for start, stop in _uncertain(one)),
        key=lambda part: part[2] - part[1],
    )
    for begin in range(0, len(parts), SIDE_BY_SIDE):
        batch = parts[begin : begin + SIDE_BY_SIDE]
        decoded = _likeliest(*_side_by_side([tags[row][start:stop] for row, start, stop in batch]))
        right = calibration.exact(log_odds(np.array([one.log_prob for found in decoded for one in found]))).tolist()
        confidence = iter(right)
        for (row, start, _), found in zip(batch, decoded, strict=True):
            ranges = words[row]
            answers[row] += [
                Span(
                    start=int(ranges[start + one.first, 0]),
                    end=int(ranges[start + one.last, 1]),
                    label=head.keys[one.label],
                    confidence=next(confidence),
                )
                for one in found
            ]
    return [sorted(answer, key=itemgetter("start")) for answer in answers]


def shapes(text: str, words: Ints) -> NDArray[np.float32]:
    """Return what the writing of each word tells, (n, N_SHAPES), as 0 and 1: the columns are those of `SHAPES`.

    A letter without case is neither a capital nor small. A sentence begins after `.`, `?` or `!` and white space.
    """
    characters = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<U1")
    tests = (np.strings.isupper, np.strings.islower, np.strings.isalpha, np.strings.isdigit)
    sums = np.zeros((len(characters) + 1, len(tests)), dtype=np.intp)
    np.cumsum(np.stack([test(characters) for test in tests], axis=1), axis=0, out=sums[1:])
    starts, ends = words[:, 0], words[:, 1]
    capitals, small, letters, digits = (sums[ends] - sums[starts]).T
    lengths = ends - starts
    is_turn = np.zeros(len(characters) + 1, dtype=bool)
    is_turn[[match.end() for pattern in (_SENTENCE, _SPEAKER) for match in pattern.finditer(text)]] = True
    begins = is_turn[starts]
    begins[:1] = True
    bucket = np.searchsorted(LENGTHS, lengths)
    columns = [
        sums[starts + 1, 0] > sums[starts, 0],
        (letters > 0) & (capitals == letters),
        (letters > 0) & (small == letters),
        digits == lengths,
        digits > 0,
        (letters == 0) & (digits == 0),
        begins,
        *(bucket == at for at in range(len(LENGTHS) + 1)),
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def word_inputs(
    texts: Sequence[str], cut: Sequence[tuple[Ints, Ints]]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Lay out what a network needs of the words of B texts, N of the longest.

    Args:
        texts: as they were cut.
        cut: of each text its words, (n, 2), and the position of each word's first piece, (n,).

    Returns:
        The positions, (B, N), and the shapes, (B, N, N_SHAPES); 0 where a text has fewer words.
    """
    longest = max([1, *(len(words) for words, _ in cut)])
    firsts = np.zeros((len(cut), longest), dtype=np.int64)
    found = np.zeros((len(cut), longest, N_SHAPES), dtype=np.float32)
    for at, (text, (words, begins)) in enumerate(zip(texts, cut, strict=True)):
        firsts[at, : len(words)] = begins
        found[at, : len(words)] = shapes(text, words)
    return firsts, found


def _cuts(place: int, words: Ints) -> bool:
    """Tell whether a place in the text is inside a word, and not at one of its ends."""
    at = int(np.searchsorted(words[:, 0], place)) - 1  # The last word that begins before it
    return at >= 0 and place < words[at, 1]


def _length(one: tuple[int, int, str], words: Ints) -> int:
    """Return the length of the words of a span in characters, negative so that the longest sorts first."""
    return int(words[one[0], 0] - words[one[1] - 1, 1])


def _uncertain(tags: Floats) -> list[tuple[int, int]]:
    """Return the half-open ranges of words that may be in a span, from the log-probabilities of their tags, (n, T).

    A word that the next one may continue is among them, however surely outside it is: one of the two is wrong.
    """
    if not len(tags):
        return []
    may_be = np.zeros(len(tags) + 2, dtype=bool)
    may_be[1:-1] = tags[:, 0] < math.log1p(-UNLIKELY)
    may_be[1:-2] |= np.exp(tags[1:, 2::2]).sum(axis=1) > UNLIKELY
    edges = np.flatnonzero(may_be[1:] != may_be[:-1]).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


def _side_by_side(parts: Sequence[Floats]) -> tuple[Floats, Floats, Floats]:
    """Lay out the log-probabilities of outside (B, n), begins (B, n, L) and continues (B, n, L) of words.

    Shorter parts are filled up with words that are certainly outside, which change nothing.
    """
    found = np.full((len(parts), max(map(len, parts)), parts[0].shape[1]), FAINTEST)
    found[:, :, 0] = 0.0
    for row, values in enumerate(parts):
        found[row, : len(values)] = values
    return found[:, :, 0], found[:, :, 1::2], found[:, :, 2::2]


def _likeliest(outside: Floats, begins: Floats, continues: Floats) -> list[list[_Found]]:
    """Return the spans of the most probable sequence of each text, with the probability that each is exactly so."""
    closed, first = _viterbi(outside, begins, continues)
    before, after = _prefixes(outside, begins, continues), _suffixes(outside, begins, continues)  # (B, n + 1)
    inside = np.concatenate([np.zeros_like(continues[:, :1]), continues.cumsum(axis=1)], axis=1)  # (B, n + 1, L)
    answers = []
    for row, labels in enumerate(closed.tolist()):
        found, word = [], len(labels) - 1
        while word >= 0:
            label = labels[word]
            if label >= 0:
                begun = int(first[row, word, label])
                found.append((begun, word, label))
                word = begun
            word -= 1
        answers.append(
            [
                _Found(begun, last, label, min(0.0, float(log_prob)))
                for begun, last, label in reversed(found)
                for log_prob in [
                    before[row, begun]
                    + begins[row, begun, label]
                    + inside[row, last + 1, label]
                    - inside[row, begun + 1, label]
                    + after[row, last + 1]
                    - after[row, 0]
                ]
            ]
        )
    return answers


def _viterbi(outside: Floats, begins: Floats, continues: Floats) -> tuple[Ints, Ints]:
    """Return the way back along the most probable sequence.

    Returns:
        The label that is open at each word if the text ended there, -1 for outside, (B, n); and the word at which a
        span of each label would have begun if it were, (B, n, L).
    """
    n_texts, n_words, n_labels = begins.shape
    closed: Ints = np.full((n_texts, n_words), -1, dtype=np.intp)
    first: Ints = np.zeros((n_texts, n_words, n_labels), dtype=np.intp)
    best = np.zeros(n_texts)  # Of all sequences so far
    open_: Floats = np.full((n_texts, n_labels), -np.inf)  # Of those that end inside a span of each label
    begun: Ints = np.zeros((n_texts, n_labels), dtype=np.intp)
    texts = np.arange(n_texts)
    for word in range(n_words):
        new, old = best[:, None] + begins[:, word], open_ + continues[:, word]
        begun = np.where(new >= old, word, begun)
        open_ = np.maximum(new, old)
        label = open_.argmax(axis=1)
        inside, out = open_[texts, label], best + outside[:, word]
        closed[:, word] = np.where(inside > out, label, -1)
        first[:, word] = begun
        best = np.maximum(inside, out)
    return closed, first


def _prefixes(outside: Floats, begins: Floats, continues: Floats) -> Floats:
    """Return the log-weight of all sequences of the first 0 to n words, (B, n + 1)."""
    out, new, more = np.exp(outside), np.exp(begins), np.exp(continues)
    found = np.zeros((out.shape[0], out.shape[1] + 1))
    open_ = np.zeros_like(new[:, 0]) if out.shape[1] else new  # Share of the weight that ends inside each label
    for word in range(out.shape[1]):
        open_ = new[:, word] + open_ * more[:, word]
        grown = out[:, word] + open_.sum(axis=1)
        open_ /= grown[:, None]  # Else the weights vanish in a long text
        found[:, word + 1] = grown
    found[:, 1:] = np.log(found[:, 1:]).cumsum(axis=1)
    return found


def _suffixes(outside: Floats, begins: Floats, continues: Floats) -> Floats:
    """Return the log-weight of all sequences of the last n to 0 words that continue nothing, (B, n + 1)."""
    out, new, more = np.exp(outside), np.exp(begins), np.exp(continues)
    found = np.zeros((out.shape[0], out.shape[1] + 1))
    ahead = np.ones_like(new[:, 0]) if out.shape[1] else new  # Weight where a label is open, relative to none open
    for word in reversed(range(out.shape[1])):
        grown = out[:, word] + (new[:, word] * ahead).sum(axis=1)
        ahead = 1.0 + more[:, word] * ahead / grown[:, None]
        found[:, word] = grown
    found[:, :-1] = np.log(found[:, :-1])[:, ::-1].cumsum(axis=1)[:, ::-1]
    return found
