"""What conversations are about just now: kept in Valkey for a while, so that all web processes share it.

Of a message only the number of its case and the probabilities of its tags are kept; its words stay in the database.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache

import redis
from django.conf import settings

from ml import conversation
from ml.conversation import ConversationTag

KEPT_SECONDS = 24 * 3600  # After the last message


@dataclass(frozen=True, slots=True)
class Message:
    """One message that counts."""

    case: int
    probabilities: dict[str, float]


def add(source: str, name: str, message: Message, *, threshold: float) -> tuple[ConversationTag, bool, list[Message]]:
    """Add a message; return the tag of the conversation, whether it is another than before, and what counts.

    Each message is added in one step with reading those before it, so that of two at once none is lost; the tag is
    exchanged in one step for the one before.
    """
    messages_at, tag_at = _keys(source, name)
    with _valkey().pipeline(transaction=True) as steps:
        steps.rpush(messages_at, json.dumps([message.case, message.probabilities]))
        steps.ltrim(messages_at, -conversation.WINDOW, -1)
        steps.lrange(messages_at, 0, -1)
        steps.expire(messages_at, KEPT_SECONDS)
        steps.expire(tag_at, KEPT_SECONDS)
        stored = steps.execute()[2]
    counted = [Message(case, probabilities) for case, probabilities in map(json.loads, stored)]
    # Another schema may have had other tags
    counted = [one for one in counted if one.probabilities.keys() == message.probabilities.keys()]
    found = conversation.tag([one.probabilities for one in counted], None, threshold)
    if found.tag is None:
        return found, False, counted
    before = _valkey().set(tag_at, found.tag, ex=KEPT_SECONDS, get=True)
    return found, before not in (None, found.tag.encode()), counted


def forget(source: str, name: str) -> bool:
    """Forget what a conversation was about; tell whether anything was known. Its cases stay."""
    return bool(_valkey().delete(*_keys(source, name)))


def _keys(source: str, name: str) -> tuple[str, str]:
    """Return where the state is kept. Names may be those of people, so only their hash is."""
    digest = hashlib.sha256(json.dumps([source, name]).encode()).hexdigest()[:32]
    return f"conversation:{digest}:messages", f"conversation:{digest}:tag"


@lru_cache(maxsize=1)
def _valkey() -> redis.Redis:
    return redis.Redis.from_url(settings.REDIS_URL)
