"""What machines ask: whether we live, whether we are ready, how the loop runs, and for what is not there."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_GET
from django.views.defaults import page_not_found
from prometheus_client import CONTENT_TYPE_LATEST

from webapp import metrics
from webapp.api.base import NOT_FOUND, Refused, TokenAuth
from webapp.models import Scope
from webapp.queries import loop

authenticate = TokenAuth(Scope.METRICS)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Say that there is nothing: in a page to browsers, to programs as the API does."""
    if "text/html" in request.headers.get("Accept", "") or request.htmx:  # type: ignore[attr-defined]
        return page_not_found(request, exception)
    return JsonResponse({"detail": NOT_FOUND, "faults": []}, status=404)


@require_GET
def alive(request: HttpRequest) -> HttpResponse:
    """Answer that the web process runs. For probes; says nothing else."""
    return JsonResponse({"status": "alive"})


@require_GET
def ready(request: HttpRequest) -> HttpResponse:
    """Answer whether what pages need is there, and what the loop has to work with. For probes."""
    found = loop.readiness()
    return JsonResponse(found, status=200 if found["ready"] else 503)


@require_GET
def measures(request: HttpRequest) -> HttpResponse:
    """Tell Prometheus how the loop runs. Takes a token made for `metrics`."""
    try:
        authenticate(request)
    except Refused as exc:
        return JsonResponse({"detail": exc.detail}, status=exc.status, headers=exc.headers)
    return HttpResponse(metrics.exposition(), content_type=CONTENT_TYPE_LATEST)
