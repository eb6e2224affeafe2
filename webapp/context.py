"""What every page needs: where the person may go, what is escalated, and which cases are synthetic."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from webapp.demo import SOURCE
from webapp.queries import queue
from webapp.queries.alerts import open_ones as open_alerts
from webapp.roles import STAFF, Role, roles_of

PLACES = (  # Address name, words, roles
    ("home", "Home", STAFF),
    ("label", "Label", (Role.ANNOTATOR,)),
    ("queue", "Queue", STAFF),
    ("alerts", "Alerts", STAFF),
    ("agreement", "Agreement", STAFF),
    ("imports", "Imports", (Role.ADMIN,)),
    ("models", "Models", STAFF),
    ("policy", "Policy", STAFF),
    ("people", "People", (Role.ADMIN,)),
    ("audit", "Audit", (Role.ADMIN,)),
    ("status", "Status", STAFF),
)


def navigation(request: HttpRequest) -> dict[str, Any]:
    """Return the places of this person's roles, what waits, the open alerts, and the source of the demo's cases."""
    user = getattr(request, "user", None)
    roles = roles_of(user) if user else set()
    here = (request.resolver_match.url_name or "") if request.resolver_match else ""
    places = [
        {"name": name, "words": words, "here": name == here.removesuffix("-of")}
        for name, words, for_ in PLACES
        if roles & set(for_)
    ]
    waiting = queue.waiting() if roles & set(STAFF) else None
    shown = open_alerts() if roles & set(STAFF) else None
    return {"places": places, "waiting": waiting, "alerts": shown, "roles": roles, "demo_source": SOURCE}
