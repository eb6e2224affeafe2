"""What breaks while it quotes a text: a Celery task, a page, and a web server's application. For test_logs."""

from __future__ import annotations

from typing import Any

from celery import shared_task
from django.conf import settings
from django.http import HttpRequest
from django.urls import path

from webapp.wsgi import application as ours

MARKER = "my stepfather locks the door"


def refuse() -> None:
    """Raise an exception that quotes the text."""
    raise KeyError(MARKER)


def quote() -> None:
    """Raise an exception that quotes the text, and was caused by another that does."""
    try:
        refuse()
    except KeyError as exc:
        raise ValueError(f"cannot read: {MARKER}") from exc


@shared_task
def break_down(number: int) -> None:
    """Break in a worker."""
    quote()


def page(request: HttpRequest) -> None:
    """Break in a view."""
    quote()


urlpatterns = [path("page/", page)]


def application(environ: dict[str, Any], start_response: Any) -> Any:
    """Break outside of Django, or serve the page that breaks."""
    if environ["PATH_INFO"] == "/outside/":
        quote()
    settings.ROOT_URLCONF = __name__
    return ours(environ, start_response)
