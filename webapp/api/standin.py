"""The addresses of the services that Caseloop stands in for."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest

from webapp.api import base, four_heads, helpline, ratings, tagger
from webapp.api.base import Problem
from webapp.api.dropins import SCHEMAS, schema_of
from webapp.serving import NotServed, serving

api = base.make(
    title="Caseloop, standing in for other services",
    version="1",
    urls_namespace="dropins",
    docs_url="/api/dropins/",
    openapi_url="/api/dropins/openapi.json",
)


@api.get("/health", response={200: dict[str, Any], 404: Problem}, auth=None, tags=["health"])
def health(request: HttpRequest) -> dict[str, Any]:
    """Tell whether the version in use is loaded, and have it loaded if not. For probes, so without a token."""
    on = [service for service in SCHEMAS if service in settings.DROPINS]
    if not on:
        raise Http404
    try:
        version, _ = serving(schema_of(on[0]))
    except NotServed:
        return {"status": "healthy", "model": SCHEMAS[on[0]], "model_loaded": False}
    return {"status": "healthy", "model": f"{SCHEMAS[on[0]]} {version}", "model_loaded": True}


for prefix, router in (
    ("", four_heads.router),
    ("", tagger.router),
    ("/api/v1/agent-feedback", ratings.router),
    ("", helpline.router),
):
    api.add_router(prefix, router)
