"""The conversations in a stream of messages: what each is about, and when that changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

from ml import conversation
from ml.errors import InputError
from ml.schema import Kind
from ml.serving import Predictor
from ml.types import Example


@dataclass(frozen=True, slots=True)
class Message:
    """What is kept of a message: `probabilities` of the labels of each head, and not its words."""

    id: str
    sent_at: datetime | None
    probabilities: Mapping[str, Mapping[str, float]]


class Conversations:
    """Conversations by the messages that a model has answered. Their tags are the labels of its `choices` heads."""

    def __init__(self, predictor: Predictor) -> None:
        """Begin without messages.

        Raises:
            InputError: the model has no head of that kind.
        """
        self._predictor = predictor
        kinds = {key: predictor.schema.head(key).kind for key in predictor.manifest["heads"]}
        self._keys = [key for key, kind in kinds.items() if kind == Kind.CHOICES]
        if not self._keys:
            known = ", ".join(f"{key} ({kind})" for key, kind in kinds.items())
            raise InputError(f"the model has the heads {known}; conversations are tagged by a head of kind choices")
        self._messages: dict[str, list[Message]] = {}

    def add(self, rows: Sequence[Example]) -> None:
        """Answer messages, and put each with the others of its conversation."""
        for row, found in zip(rows, self._predictor.predict([row.text for row in rows]), strict=True):
            message = Message(row.id, _moment(row.sent_at), {key: found[key].probabilities or {} for key in self._keys})
            self._messages.setdefault(row.conversation, []).append(message)

    def tagged(self) -> Iterator[dict[str, Any]]:
        """Yield what stands in one line for each conversation, in the order of their first messages.

        Messages are in the order of the times when they were sent if all have one, or else in that of their lines.
        """
        for name, messages in self._messages.items():
            times = [message.sent_at for message in messages if message.sent_at]
            if len(times) == len(messages):
                messages = [message for _, message in sorted(zip(times, messages, strict=True), key=itemgetter(0))]
            heads = {key: self._head(key, messages) for key in self._keys}
            yield {"conversation": name, "messages": len(messages), "heads": heads}

    def _head(self, key: str, messages: Sequence[Message]) -> dict[str, Any]:
        said = [message.probabilities[key] for message in messages]
        steps = conversation.follow(said, self._predictor.thresholds(key))
        tags: list[dict[str, str]] = []
        for message, step in zip(messages, steps, strict=True):
            if step.tag and (step.switched or not tags):
                tags.append({"tag": step.tag, "since": message.id})
        now, counted = steps[-1], messages[-conversation.WINDOW :]
        return {
            "tag": now.tag,
            "switched": len(tags) > 1,
            "tags": tags,
            "probabilities": now.probabilities,
            "evidence": [{"id": counted[one.position].id, "probability": one.probability} for one in now.evidence],
        }


def _moment(written: str) -> datetime | None:
    """Read an ISO 8601 time, in UTC where it names no zone; None for what is of another form."""
    try:
        found = datetime.fromisoformat(written)
    except ValueError:
        return None
    return found.replace(tzinfo=found.tzinfo or UTC)
