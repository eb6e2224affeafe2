"""What Label Studio sends us: only a nudge to look."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, HttpResponseForbidden
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from annotate import webhooks
from annotate.errors import PayloadError
from webapp import tasks


@csrf_exempt
@require_POST
def label_studio(request: HttpRequest) -> HttpResponse:
    """Check the secret, and have a worker fetch what changed; what the body says is not believed."""
    if not webhooks.is_authentic(request.headers.get(webhooks.SECRET_HEADER), settings.LABEL_STUDIO_WEBHOOK_SECRET):
        return HttpResponseForbidden("wrong secret")
    try:
        nudge = webhooks.parse(request.body)
    except PayloadError as exc:
        return HttpResponseBadRequest(str(exc))
    if nudge is not None:
        tasks.poll_label_studio.delay()
    return HttpResponse(status=204)
