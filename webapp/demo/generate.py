"""Make the demo's cases: synthetic, the same for a seed, labelled without noise because the labels choose the words.

Cases that the app will hold out are written from parts that no other labelled case uses, so that a test figure shows
whether a model understood, and not whether it remembers a sentence. Cases without labels draw on both.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from ml import policy, schema
from ml.types import Example
from webapp.demo import SOURCE, messages, parts
from webapp.demo.calls import Call

CALLS = {"train": 400, "test": 180, "new": 120}  # Of each pool of parts
MESSAGES = {"train": 480, "test": 120, "new": 60}  # At least
WORDS = (150, 350)
BEGIN = datetime(2025, 3, 3, 6, 0, tzinfo=UTC)


def helpline(seed: int = 0) -> Iterator[Example]:
    """Make calls to a child helpline: first those with labels, then those without."""
    rng = Random(seed)  # noqa: S311 - texts, not secrets
    read, pools, topics = schema.load("helpline"), _pools(), parts.topics()
    numbers = {name: _external_ids("call", name) for name in pools}
    decks = {name: _deck({sub: topic["weight"] for sub, topic in topics.items()}, rng) for name in pools}
    received = BEGIN
    for name in _order(CALLS, rng):
        sub = next(decks[name])
        call = _call(read, sub, topics[sub], pools[name], rng)
        received += timedelta(minutes=rng.randint(5, 90))
        example = call.example(next(numbers[name]), is_labelled=name != "new")
        yield replace(example, sent_at=received.isoformat())


def customer(seed: int = 0) -> Iterator[Example]:
    """Make messages of customers, conversation by conversation: first those with labels, then those without."""
    rng = Random(seed)  # noqa: S311 - texts, not secrets
    read, pools = schema.load("customer"), _pools()
    customers = {name: _external_ids("customer", name) for name in pools}
    numbers = count(1)
    received = BEGIN
    made = Counter[str]()
    for name in _order(MESSAGES, rng):
        if made[name] >= MESSAGES[name]:
            continue  # Conversations before have brought all that is wanted
        conversation = next(customers[name])
        received += timedelta(hours=rng.randint(1, 9))
        for text, tags in messages.conversation(read, pools[name]["customer"], rng):
            received += timedelta(minutes=rng.randint(1, 40))
            made[name] += 1
            yield Example(
                id=f"message-{next(numbers):04d}",
                text=text,
                labels={} if name == "new" else {"tags": tags},
                source=SOURCE,
                conversation=conversation,
                sent_at=received.isoformat(),
                metadata={"synthetic": True},
            )


def write(folder: Path, *, seed: int = 0) -> list[Path]:
    """Write both sets as JSONL, in the form that imports and `python -m ml` read, and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, make in (("helpline", helpline), ("customer", customer)):
        path = folder / f"{name}_demo.jsonl"
        path.write_text("".join(f"{line}\n" for line in _lines(make(seed))), encoding="utf-8")
        written.append(path)
    return written


def _lines(examples: Iterable[Example]) -> Iterator[str]:
    for example in examples:
        row: dict[str, Any] = {"id": example.id, "source": example.source, "text": example.text}
        row |= {"labels": example.labels} if example.labels else {}
        row |= {"conversation": example.conversation} if example.conversation else {}
        row |= {"sent_at": example.sent_at, "metadata": dict(example.metadata)}
        yield json.dumps(row, ensure_ascii=False)


def _call(read: schema.Schema, sub: str, topic: dict[str, Any], pool: dict[str, Any], rng: Random) -> Call:
    """Write one call; one that comes out too short or too long is begun again."""
    while True:
        call = Call(read, sub, topic, pool, rng)
        call.write()
        if WORDS[0] <= len(call.transcript.text.split()) <= WORDS[1]:
            return call


def _pools() -> dict[str, dict[str, Any]]:
    train, test = parts.pool("train"), parts.pool("test")
    return {"train": train, "test": test, "new": parts.mixed(train, test)}


def _order(wanted: dict[str, int], rng: Random) -> list[str]:
    """Return the pool of each case: those with labels mixed, then the new ones."""
    labelled = [name for name in ("train", "test") for _ in range(wanted[name])]
    rng.shuffle(labelled)
    return [*labelled, *["new"] * wanted["new"]]


def _deck(weights: dict[str, int], rng: Random) -> Iterator[str]:
    """Deal the sub-categories without end, each as often as its weight before any comes more often."""
    while True:
        cards = [sub for sub, weight in weights.items() for _ in range(weight)]
        rng.shuffle(cards)
        yield from cards


def _external_ids(kind: str, pool: str) -> Iterator[str]:
    """Number cases, leaving out the ids that would put a labelled case on another side than its words."""
    for number in count(1):
        if pool == "new":
            yield f"new-{kind}-{number:04d}"
            continue
        external_id = f"{kind}-{number:04d}"
        side = policy.side_of(SOURCE, external_id, is_audit=False, has_labels=True)
        if (side == policy.Side.TEST) == (pool == "test"):
            yield external_id
