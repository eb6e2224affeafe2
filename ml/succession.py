"""What a new version of a schema changes, and what old answers are in it. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import cast

from ml.schema import Head, Kind, Schema
from ml.types import Answer, Span


class Change(StrEnum):
    """What happens to a label."""

    ADDED = "added"
    RENAMED = "renamed"
    MERGED = "merged"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class LabelChange:
    """One label that changes: its key as it was, or as it is where it is new; and the key that stands for it now."""

    head: str
    change: Change
    key: str
    into: str = ""


@dataclass(frozen=True, slots=True)
class Succession:
    """All that a new version changes. Heads by key; one of another kind, or under another parent, is not the same."""

    added_heads: tuple[str, ...]
    removed_heads: tuple[str, ...]
    labels: tuple[LabelChange, ...]

    def lost(self) -> dict[str, set[str]]:
        """Return the labels that went away and that no other stands for, by head."""
        found: dict[str, set[str]] = {}
        for one in self.labels:
            if one.change == Change.REMOVED:
                found.setdefault(one.head, set()).add(one.key)
        return found


def compare(old: Schema, new: Schema) -> Succession:
    """Return what a new version of a schema changes."""
    labels = [change for head in new.heads if head.key in old.by_key for change in _labels(old.by_key[head.key], head)]
    return Succession(
        tuple(key for key in new.by_key if key not in old.by_key),
        tuple(key for key in old.by_key if key not in new.by_key),
        tuple(labels),
    )


def _labels(old: Head, new: Head) -> list[LabelChange]:
    """Rubrics have criteria and no labels; theirs are not followed."""
    now = replacements(new)
    found = []
    for label in old.labels:
        if (same := new.by_key.get(label.key)) is not None:
            if same.name != label.name:
                found.append(LabelChange(new.key, Change.RENAMED, label.key, same.key))
        elif (into := now.get(label.key)) is not None:
            is_alone = into not in old.by_key and len(new.by_key[into].replaces) == 1
            found.append(LabelChange(new.key, Change.RENAMED if is_alone else Change.MERGED, label.key, into))
        else:
            found.append(LabelChange(new.key, Change.REMOVED, label.key))
    added = (
        label for label in new.labels if label.key not in old.by_key and not set(label.replaces) & old.by_key.keys()
    )
    return found + [LabelChange(new.key, Change.ADDED, label.key) for label in added]


def replacements(head: Head) -> dict[str, str]:
    """Return which label stands for a key of an earlier version."""
    return {old: label.key for label in head.labels for old in label.replaces}


def translate(head: Head, answer: Answer) -> Answer | None:
    """Return an answer of an earlier version in the labels of this one; None where nothing of it is left.

    Of several labels those that are left stand, each once. Spans whose label went away were never asked for.
    """
    now = {**replacements(head), **{key: key for key in head.by_key}}
    match head.kind, answer:
        case Kind.CHOICE, str():
            return now.get(answer)
        case Kind.CHOICES, list():
            kept = list(dict.fromkeys(now[key] for key in answer if isinstance(key, str) and key in now))
            return kept if kept or not answer else None
        case Kind.SPANS, list():
            spans = [span for span in answer if not isinstance(span, str) and span["label"] in now]
            return [cast(Span, {**span, "label": now[span["label"]]}) for span in spans]
    return answer
