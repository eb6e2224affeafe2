"""What every page needs: where the person may go, what is escalated, and which cases are synthetic."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from webapp.demo import SOURCE
from webapp.queries import clock, queue
from webapp.queries.alerts import open_ones as open_alerts
from webapp.roles import STAFF, Role, roles_of

PLACES = (  # Address name, words, roles
    ("home", _("Home"), STAFF),
    ("label", _("Label"), (Role.ANNOTATOR,)),
    ("queue", _("Queue"), STAFF),
    ("alerts", _("Alerts"), STAFF),
    ("agreement", _("Agreement"), STAFF),
    ("imports", _("Imports"), (Role.ADMIN,)),
    ("models", _("Models"), STAFF),
    ("policy", _("Policy"), STAFF),
    ("people", _("People"), (Role.ADMIN,)),
    ("audit", _("Audit"), (Role.ADMIN,)),
    ("status", _("Status"), STAFF),
)


def navigation(request: HttpRequest) -> dict[str, Any]:
    """Return the places of this person, what waits, the open alerts, the languages, the zone."""
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
    return {
        "places": places,
        "waiting": waiting,
        "alerts": shown,
        "roles": roles,
        "demo_source": SOURCE,
        "languages": settings.LANGUAGES,
        "zone": clock.zone(),
    }
