"""How well surrogates cover what people marked as names, places and phone numbers. Pure functions.

What is covered can never be read in what is sent; that is counted all the same. What the model missed can be: its share
is the number to know before texts are sent anywhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from ml import metrics, surrogates
from ml.schema import Kind, Schema
from ml.types import Example, Prediction, spans_of

REGION = "KE"  # Of phone numbers without a country code, where no policy says


def measure(
    schema: Schema,
    rows: Sequence[Example],
    predictions: Sequence[Prediction],
    *,
    labels: Iterable[str] = tuple(surrogates.NOUNS),
    region: str = REGION,
) -> dict[str, Any]:
    """Cover each text by what the model says of it and the phone numbers, and compare with what people marked.

    Args:
        rows: of which those count that have labels for entities.
        predictions: on the same texts, by a model that did not learn from them; those without entities do not count.
        labels: that are to be covered; those that the schema lacks are left out.

    Returns:
        `texts`; `left`, the covered strings that can be read in what is sent; `characters`, the share of the texts that
        is covered; and `missed`: label -> the n marked spans that have words, how many of them can be read at least in
        part, their share and its 95% interval. The share is None without spans. `whole` says the same of those spans
        that begin and end with a word: in messy data others are marks that slipped, and names of nobody.
    """
    nouns = surrogates.nouns(schema, labels)
    heads = [head.key for head in schema.of_kind(Kind.SPANS)]
    n: Counter[tuple[str, bool]] = Counter()
    missed: Counter[tuple[str, bool]] = Counter()
    texts = left = covered = characters = 0
    for row, said in zip(rows, predictions, strict=True):
        if not any(key in row.labels and key in said for key in heads):
            continue
        found = surrogates.cover(row.text, surrogates.spans_said(schema, said), nouns, region=region)
        texts += 1
        left += surrogates.left(row.text, found)
        covered += sum(piece.end - piece.start for piece in found.pieces)
        characters += len(row.text)
        gold = {(one["start"], one["end"], one["label"]) for key in heads for one in spans_of(row.labels.get(key, []))}
        for start, end, label in gold:
            words = [word for word in surrogates.WORD.finditer(row.text) if word.start() < end and start < word.end()]
            if label in nouns and words:
                is_whole = (start, end) == (words[0].start(), words[-1].end())
                n[label, is_whole] += 1
                missed[label, is_whole] += any(not found.is_whole(word.start(), word.end()) for word in words)
    return {
        "texts": texts,
        "left": left,
        "characters": covered / characters if characters else 0.0,
        "region": region,
        "missed": {
            label: {
                **_share(missed[label, True] + missed[label, False], n[label, True] + n[label, False]),
                "whole": _share(missed[label, True], n[label, True]),
            }
            for label in nouns
        },
    }


def _share(missed: int, n: int) -> dict[str, Any]:
    share = missed / n if n else None
    interval = None if share is None else metrics.accuracy_interval(share, n)
    return {"n": n, "missed": missed, "share": share, "interval": interval}
