"""What became of a person's corrections."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from webapp.queries import receipts
from webapp.roles import EVERYONE, allow, person_of


@require_GET
@allow(*EVERYONE)
def mine(request: HttpRequest) -> HttpResponse:
    """Show a person what became of what they corrected."""
    context = {"found": receipts.of_person(person_of(request)), "title": _("What became of my corrections")}
    return render(request, "receipts.html", context)
