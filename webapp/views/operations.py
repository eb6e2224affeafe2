"""What machines ask: whether we live, whether we are ready, and how the loop runs."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_GET
from prometheus_client import CONTENT_TYPE_LATEST

from webapp import metrics
from webapp.api.base import Refused, TokenAuth
from webapp.models import Scope
from webapp.queries import loop

authenticate = TokenAuth(Scope.METRICS)


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
