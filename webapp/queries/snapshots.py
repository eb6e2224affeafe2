"""Two snapshots beside each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from webapp.models import Snapshot


@dataclass(frozen=True, slots=True)
class Change:
    """Cases, by id, that came in, went out, or have other labels or another text; and how many stayed as they were."""

    came: tuple[int, ...]
    went: tuple[int, ...]
    changed: tuple[int, ...]
    kept: int


def before(snapshot: Snapshot) -> Snapshot | None:
    """Return the snapshot that was taken of the same schema before; None of the first."""
    schema = snapshot.schema_version.schema_id
    return Snapshot.objects.filter(schema_version__schema=schema, pk__lt=snapshot.pk).order_by("-id").first()


def compare(old: Snapshot, new: Snapshot) -> Change:
    """Return what differs from an older snapshot to a newer one."""
    was, is_now = _rows(old), _rows(new)
    both = was.keys() & is_now.keys()
    changed = tuple(sorted(case for case in both if was[case] != is_now[case]))
    return Change(
        tuple(sorted(is_now.keys() - was.keys())),
        tuple(sorted(was.keys() - is_now.keys())),
        changed,
        len(both) - len(changed),
    )


def _rows(snapshot: Snapshot) -> dict[int, tuple[Any, ...]]:
    found = snapshot.rows.values_list("case", "side", "text_hash", "labels")
    return {case: tuple(rest) for case, *rest in found.iterator()}
