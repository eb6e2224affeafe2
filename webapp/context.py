"""What every page needs: where the person may go."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from webapp.models import Case, CaseState
from webapp.roles import STAFF, Role, roles_of

PLACES = (  # Address name, words, roles
    ("home", "Home", STAFF),
    ("label", "Label", (Role.ANNOTATOR,)),
    ("queue", "Queue", STAFF),
    ("imports", "Imports", (Role.ADMIN,)),
    ("models", "Models", STAFF),
    ("status", "Status", STAFF),
)


def navigation(request: HttpRequest) -> dict[str, Any]:
    """Return the places of this person's roles, and how many cases wait for review."""
    user = getattr(request, "user", None)
    roles = roles_of(user) if user else set()
    here = request.resolver_match.url_name if request.resolver_match else ""
    places = [{"name": name, "words": words, "here": name == here} for name, words, for_ in PLACES if roles & set(for_)]
    waiting = Case.objects.filter(state=CaseState.REVIEW).count() if roles & set(STAFF) else None
    return {"places": places, "waiting": waiting, "roles": roles}
