"""Synthetic conversations of customers with a shop, tagged by the parts that they are made of."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from ml.schema import Schema
from webapp.demo.writing import capital, fill

# How customers move on, message by message: the tags that each message shows
JOURNEYS: tuple[tuple[tuple[str, ...], ...], ...] = (
    (("First-time-visitor",), ("Window-shopper",), (), ("Wishlist-user",), ("Hot-buyer",)),
    (("First-time-visitor", "Window-shopper"), (), ("Deal-seeker",), ("Hot-buyer",)),
    (("Window-shopper",), ("Window-shopper",), ("Wishlist-user",), ()),
    (("Deal-seeker",), ("Wishlist-user", "Deal-seeker"), ("Deal-seeker", "Hot-buyer"), ("Hot-buyer",), ()),
    (("Wishlist-user",), ("Deal-seeker",), ("Hot-buyer",)),
    (("First-time-visitor", "Deal-seeker"), ("Hot-buyer",), ("Hot-buyer",), ()),
    (("First-time-visitor",), ("First-time-visitor",), ("Window-shopper", "Wishlist-user")),
    (("Window-shopper", "Deal-seeker"), ("Wishlist-user",), (), ("Deal-seeker",), ("Wishlist-user",), ("Hot-buyer",)),
)


def conversation(schema: Schema, parts: dict[str, Any], rng: Random) -> Iterator[tuple[str, list[str]]]:
    """Write one conversation about one item, no sentence twice.

    Returns:
        The text of each message and its tags, in schema order.
    """
    item = rng.choice(parts["items"])
    left = {tag: rng.sample(lines, len(lines)) for tag, lines in parts["tags"].items()}
    neutral = rng.sample(parts["neutral"], len(parts["neutral"]))
    for wanted in rng.choice(JOURNEYS):
        said = [left[tag].pop() for tag in wanted] or [neutral.pop()]
        text = rng.choice(parts["openers"]) + " ".join(said)
        yield (
            fill(text, {"item": item, "Item": capital(item), "thing": item.removeprefix("the ")}),
            [tag for tag in schema.head("tags").keys if tag in wanted],
        )
