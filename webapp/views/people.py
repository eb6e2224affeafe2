"""Who may be here."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

from webapp.actions import people
from webapp.errors import CaseloopError
from webapp.queries import people as who
from webapp.roles import Role, allow, person_of


@require_GET
@allow(Role.ADMIN)
def people_list(request: HttpRequest) -> HttpResponse:
    """List the people, with their roles and whether they may be here."""
    context = {
        "people": who.everybody(),
        "label_studio_url": settings.LABEL_STUDIO_URL,
        "is_embedded": settings.LABEL_STUDIO_IS_EMBEDDED,
        "title": "People",
    }
    return render(request, "people.html", context)


@require_POST
@allow(Role.ADMIN)
def deactivate(request: HttpRequest, pk: int) -> HttpResponse:
    """End a person's access."""
    try:
        people.deactivate(get_object_or_404(User, pk=pk), by=person_of(request))
    except CaseloopError as exc:
        messages.error(request, str(exc))
    return redirect("people")


@require_POST
@allow(Role.ADMIN)
def reactivate(request: HttpRequest, pk: int) -> HttpResponse:
    """Let a person in again."""
    people.reactivate(get_object_or_404(User, pk=pk), by=person_of(request))
    return redirect("people")
