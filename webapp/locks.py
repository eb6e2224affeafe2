"""Locks that one process in the whole installation holds at a time, kept by PostgreSQL."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction


@contextmanager
def only_one(name: str) -> Iterator[bool]:
    """Hold the lock of that name if nobody does; the block learns whether it holds it, and must not work if not.

    The lock belongs to the connection: a process that dies gives it back.
    """
    key = _key(name)
    with connection.cursor() as cursor:
        cursor.execute("select pg_try_advisory_lock(%s)", [key])
        (is_held,) = cursor.fetchone()
    try:
        yield is_held
    finally:
        if is_held:
            with connection.cursor() as cursor:
                cursor.execute("select pg_advisory_unlock(%s)", [key])


@contextmanager
def in_turn(name: str) -> Iterator[None]:
    """Wait until nobody holds the lock of that name, and hold it until the transaction ends."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("select pg_advisory_xact_lock(%s)", [_key(name)])
        yield


def _key(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
