"""The tag of a conversation: what its last messages say together, and which of them say it. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

WINDOW = 3  # Messages that count: a customer's intent changes within a conversation


class Evidence(NamedTuple):
    """A message that carries the tag: its position among the messages that count, from 0 for the oldest of them."""

    position: int
    probability: float


@dataclass(frozen=True, slots=True)
class ConversationTag:
    """What a conversation is about just now.

    `tag` is None where no label is probable enough, and so is `confidence` then: the mean probability of the tag.
    `probabilities` are the means of all labels. `evidence` has the most telling message first.
    """

    tag: str | None
    confidence: float | None
    switched: bool
    probabilities: dict[str, float]
    evidence: tuple[Evidence, ...]


def tag(
    predictions: Sequence[Mapping[str, float]],
    previous: str | None,
    thresholds: Mapping[str, float] | float,
    *,
    window: int = WINDOW,
) -> ConversationTag:
    """Tag a conversation by its last messages.

    The tag is the label of the highest mean probability among those whose mean reaches their threshold. The caller
    keeps two things of a conversation: the probabilities of its last `window` messages, and the last tag that was not
    None, which is `previous` the next time. Nothing else is needed, and messages that come late can be tagged anew.

    Args:
        predictions: calibrated probability of each label, one mapping for each message, the newest last; at least one.
        previous: the last tag that was not None, or None before there was one.
        thresholds: one for all labels, or one for each; a label counts from it on.
        window: how many of the last messages count, 1 or more.

    Raises:
        ValueError: there is no message, messages have different labels, `previous` is none of them, `thresholds` lacks
            one or has another, or `window` is below 1.
    """
    if window < 1 or not predictions:
        raise ValueError(f"window is {window} and there are {len(predictions)} messages; expected 1 or more of each")
    messages = predictions[-window:]
    labels = tuple(messages[-1])
    least = thresholds if isinstance(thresholds, Mapping) else dict.fromkeys(labels, thresholds)
    _check(labels, messages, previous, least)
    means = {label: fmean(message[label] for message in messages) for label in labels}
    found = max((label for label in labels if means[label] >= least[label]), key=means.__getitem__, default=None)
    if found is None:
        return ConversationTag(None, None, switched=False, probabilities=means, evidence=())
    carriers = [
        Evidence(position, message[found])
        for position, message in enumerate(messages)
        if message[found] >= min(means[found], least[found])
    ]
    return ConversationTag(
        tag=found,
        confidence=means[found],
        switched=previous is not None and found != previous,
        probabilities=means,
        evidence=tuple(sorted(carriers, key=lambda one: (-one.probability, -one.position))),
    )


def follow(
    predictions: Sequence[Mapping[str, float]], thresholds: Mapping[str, float] | float, *, window: int = WINDOW
) -> list[ConversationTag]:
    """Tag a conversation as it was after each of its messages. The arguments and errors are those of `tag`."""
    found: list[ConversationTag] = []
    previous = None
    for end in range(1, len(predictions) + 1):
        found.append(tag(predictions[max(0, end - window) : end], previous, thresholds, window=window))
        previous = found[-1].tag or previous
    return found


def _check(
    labels: Sequence[str], messages: Sequence[Mapping[str, float]], previous: str | None, least: Mapping[str, float]
) -> None:
    for position, message in enumerate(messages):
        if set(message) != set(labels):
            raise ValueError(f"message {position} has the labels {_listed(message)}; the newest has {_listed(labels)}")
    if set(least) != set(labels):
        raise ValueError(f"thresholds are for {_listed(least)}; expected {_listed(labels)}")
    if previous is not None and previous not in labels:
        raise ValueError(f"previous is {previous!r}; expected None or one of {_listed(labels)}")


def _listed(labels: Sequence[str] | Mapping[str, float]) -> str:
    return ", ".join(sorted(labels)) or "none"
