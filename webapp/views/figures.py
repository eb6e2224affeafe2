"""The figures of the loop, with charts that are drawn here, so that no page needs a script for them."""

from __future__ import annotations

import hashlib

from django.core.cache import cache
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.cache import get_conditional_response, patch_cache_control
from django.utils.http import quote_etag
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from webapp import charts
from webapp.models import Schema
from webapp.queries import figures
from webapp.roles import STAFF, allow

FRESH_SECONDS = 60
KEPT_SECONDS = 24 * 3600


@require_GET
@allow(*STAFF)
def figures_page(request: HttpRequest) -> HttpResponse:
    """Show the figures of one schema, each as a chart and as a table; to a page that asks for it, this part alone."""
    offered = list(Schema.objects.order_by("-name"))
    shown = next((schema for schema in offered if schema.name == request.GET.get("schema")), offered[0])
    name = "figures.html" if request.htmx else "figures_page.html"  # type: ignore[attr-defined]
    sizes = [(figure, charts.size(figure), charts.size(figure, is_narrow=True)) for figure in figures.all_of(shown)]
    context = {"schemas": offered, "shown": shown, "figures": sizes, "title": _("Figures")}
    return render(request, name, context)


@require_GET
@allow(*STAFF)
def chart(request: HttpRequest, schema: str, name: str) -> HttpResponse:
    """Answer with one chart. A browser that has it asks a minute later whether it is still the same."""
    if name not in figures.FIGURES:
        raise Http404("no such chart")
    figure = figures.FIGURES[name](get_object_or_404(Schema, name=schema))
    variant = {"is_dark": "dark" in request.GET, "is_narrow": "narrow" in request.GET}
    digest = hashlib.sha256(repr((figure, variant)).encode()).hexdigest()
    answer = get_conditional_response(request, etag=quote_etag(digest))
    if answer is None:
        drawn = cache.get_or_set(f"caseloop:chart:{digest}", lambda: charts.svg(figure, **variant), KEPT_SECONDS)
        answer = HttpResponse(drawn, content_type="image/svg+xml")
    answer["ETag"] = quote_etag(digest)
    patch_cache_control(answer, private=True, max_age=FRESH_SECONDS)
    return answer
