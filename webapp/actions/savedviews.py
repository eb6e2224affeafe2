"""Keeping filters of the queue under a name."""

from __future__ import annotations

from dataclasses import replace

from django.contrib.auth.models import User
from django.db import transaction
from django.utils.translation import gettext as _

from webapp.actions import searches
from webapp.errors import NotSavable
from webapp.models import SavedView
from webapp.queries import search
from webapp.queries.filters import Filters

MOST = 12  # Each is counted whenever the queue is shown


@transaction.atomic
def save(user: User, name: str, filters: Filters) -> SavedView:
    """Keep filters under a name, in the place of those that had it. Saved, a search may be seen by all who see cases.

    Raises:
        NotSavable: the person keeps too many already, or what was searched for is not kept any more.
    """
    others = user.saved_views.exclude(name=name).count()
    if others >= MOST:
        said = _("you keep %(number)d views; expected at most %(most)d: remove one, then save this one")
        raise NotSavable(said % {"number": others, "most": MOST})
    kept = None
    if filters.search is not None:
        words = search.words(filters.search, user)
        if words is None:
            raise NotSavable(_("what was searched for is not kept any more; search again, then save the view"))
        kept = searches.keep(user, words)  # One of their own, even where another person sent them theirs
        filters = replace(filters, search=kept.pk)
    values = {"filters": filters.given(), "search": kept}
    return SavedView.objects.update_or_create(owner=user, name=name, defaults=values)[0]
