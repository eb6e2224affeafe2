"""How far people agree with each other."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from webapp.models import Schema
from webapp.queries import agreement
from webapp.roles import STAFF, allow


@require_GET
@allow(*STAFF)
def agreement_page(request: HttpRequest) -> HttpResponse:
    """Show for one schema how far people agree on each head, all of them and two by two."""
    offered = list(Schema.objects.order_by("-name"))
    shown = next((schema for schema in offered if schema.name == request.GET.get("schema")), offered[0])
    context = {
        "schemas": offered,
        "shown": shown,
        "heads": agreement.figures(shown),
        "least": agreement.LEAST,
        "most": agreement.MOST,
        "title": _("Agreement"),
    }
    return render(request, "agreement.html", context)
