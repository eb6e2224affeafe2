"""The way back: people who came from Caseloop find a link to their next case on every page, and are taken there.

Whoever works here labels. The pages where a project is set up lead back too: Caseloop makes projects what they are.
"""

import re
from pathlib import Path
from urllib.parse import urljoin

from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils.html import format_html

ADDRESS = "caseloop_next"  # In the session: where Caseloop takes this person to their next case
SETTINGS = re.compile(r"/projects/\d+/settings(/|$)")
FILES = {
    f"/bridge/{name}": ((Path(__file__).parent / name).read_bytes(), kind)
    for name, kind in (("back.css", "text/css"), ("back.js", "text/javascript"))
}
# At the head of the page, before the scripts that ask the server
TAGS = (
    '<link rel="stylesheet" href="/bridge/back.css">'
    '<script src="/bridge/back.js" data-next="{}" data-home="{}"></script>'
)


class BackMiddleware:
    """Put the link on the pages of people who came from Caseloop, and send them home from a project's settings."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        if request.path in FILES:
            content, kind = FILES[request.path]
            return HttpResponse(content, content_type=f"{kind}; charset=utf-8")
        address = request.session.get(ADDRESS)
        if address and SETTINGS.match(request.path):
            return redirect(home(address))
        answer = self.get_response(request)
        if address and not answer.streaming and answer.get("Content-Type", "").startswith("text/html"):
            tags = format_html(TAGS, address, home(address)).encode()
            answer.content = answer.content.replace(b"<head>", b"<head>" + tags, 1)
            answer["Content-Length"] = len(answer.content)
        return answer


def home(address):
    """Return the page of Caseloop from which annotators set out."""
    return urljoin(address, "../../")
