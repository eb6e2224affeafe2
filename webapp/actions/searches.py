"""Keeping what people search for out of addresses, and for no longer than it is of use."""

from __future__ import annotations

from datetime import timedelta

from django.contrib.auth.models import User
from django.utils import timezone

from webapp.models import Search

KEPT = timedelta(hours=12)  # A working day: pages stay open, and are loaded again


def keep(user: User, words: str) -> Search:
    """Keep the words of a search, so that an address can name it; the same words are the same search."""
    return Search.objects.update_or_create(owner=user, words=words)[0]


def clear_out() -> None:
    """Forget the searches that are over and in no saved view."""
    Search.objects.filter(views=None, asked_at__lt=timezone.now() - KEPT).delete()
