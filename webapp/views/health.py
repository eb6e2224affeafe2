"""How Label Studio stands, and repairing it. A worker does both: the page tells what our database knows meanwhile."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from webapp.actions import doctor
from webapp.queries import health
from webapp.roles import Role, allow, person_of


@require_GET
@allow(Role.ADMIN)
def label_studio(request: HttpRequest) -> HttpResponse:
    """Show what the polls, the outbox and the last examination say."""
    checkup = health.last_checkup()
    context = {
        "url": settings.LABEL_STUDIO_URL,
        "down_since": health.down_since(),
        "outbox": health.outbox(),
        "projects": health.projects(),
        "checkup": checkup,
        "report": checkup.report if checkup else {},
        "under_way": health.checkup_under_way(),
        "title": "Label Studio",
    }
    return render(request, "label_studio.html", context)


@require_POST
@allow(Role.ADMIN)
def examine(request: HttpRequest) -> HttpResponse:
    """Have a worker examine Label Studio; and repair it, where that is asked for and confirmed."""
    repairs = [name for name in doctor.REPAIRS if name in request.POST.getlist("repair")]
    if repairs and request.POST.get("confirmed") != "yes":
        messages.error(request, "Nothing was repaired: tick the box that says so, and send it again.")
    else:
        doctor.request(repairs, by=person_of(request))
    return redirect("label-studio")
