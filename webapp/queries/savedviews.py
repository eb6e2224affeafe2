"""The views of the queue that a person keeps."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth.models import User

from webapp.models import SavedView
from webapp.queries import filters, queue
from webapp.queries.filters import Filters


@dataclass(frozen=True, slots=True)
class KeptView:
    """A saved view with the number of cases in it."""

    view: SavedView
    query: str
    count: queue.Count
    is_shown: bool


def of(user: User, *, shown: Filters) -> list[KeptView]:
    """Return a person's views by name; `shown` is what the page shows."""
    found = [(view, Filters.of(view.filters)) for view in user.saved_views.order_by("name")]
    return [
        KeptView(view, given.query, queue.count(filters.cases(given, user)), given == shown) for view, given in found
    ]
