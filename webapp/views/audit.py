"""The audit log, for admins: to search and to take along."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from itertools import islice
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.views.decorators.http import require_GET, require_POST

from webapp.actions import audit
from webapp.queries import naming, trail
from webapp.queries.trail import Asked, Entry
from webapp.roles import Role, allow

COLUMNS = ("at", "who", "action", "subject", "facts", "of", "details")  # The last two in words
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


class AuditForm(forms.Form):
    """What the log is limited to. What cannot be read limits nothing."""

    person = forms.CharField(required=False, max_length=150, label=_lazy("Person"))
    action = forms.CharField(required=False, max_length=50, label=_lazy("Action"))
    subject = forms.CharField(required=False, max_length=100, label=_lazy("Subject"))
    since = forms.DateField(required=False, label=_lazy("From"), widget=forms.DateInput(attrs={"type": "date"}))
    until = forms.DateField(required=False, label=_lazy("To"), widget=forms.DateInput(attrs={"type": "date"}))

    def asked(self) -> Asked:
        """Return what could be read."""
        self.full_clean()
        given = {name: value for name, value in self.cleaned_data.items() if value}
        subject = given.pop("subject", "")
        return Asked(**given, subjects=tuple(naming.subjects(subject)) if subject else ())


@require_GET
@allow(Role.ADMIN)
def audit_page(request: HttpRequest) -> HttpResponse:
    """List who did what, the newest first."""
    form = AuditForm(request.GET)
    asked = form.asked()
    entries, following = trail.page(asked, after=request.GET.get("after", ""))
    given = {name: str(value) for name, value in form.cleaned_data.items() if value}
    context = {
        "form": form,
        "given": given,
        "entries": naming.named(entries),
        "next": urlencode({**given, "after": following}) if following else "",
        "title": _("Audit log"),
    }
    return render(request, "audit.html", context)


@require_POST
@allow(Role.ADMIN)  # type: ignore[arg-type]  # A stream is no HttpResponse to Django
def export_audit(request: HttpRequest) -> StreamingHttpResponse:
    """Send the lines that fit as CSV; that somebody took them is a line itself."""
    form = AuditForm(request.POST)
    asked = form.asked()
    limits: dict[str, object] = {
        name: str(value) for name, value in form.cleaned_data.items() if value and name != "subject"
    }
    limits |= {"subjects": list(asked.subjects)} if asked.subjects else {}
    audit.record(request.user, "audit log exported", "audit log", **limits)
    answer = StreamingHttpResponse(_csv(trail.lines(asked)), content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = 'attachment; filename="caseloop-audit.csv"'
    return answer


class _Echo:
    """A file that gives back what is written to it."""

    def write(self, line: str) -> str:
        return line


def _csv(entries: Iterator[Entry]) -> Iterator[Any]:
    writer = csv.writer(_Echo())
    yield writer.writerow(COLUMNS)
    while page := list(islice(entries, trail.PAGE)):
        for named in naming.named(page):
            entry = named.entry
            facts = json.dumps(entry.facts, ensure_ascii=False, sort_keys=True) if entry.facts else ""
            exact = (entry.at.isoformat(), entry.who, entry.action, entry.subject, facts)
            yield writer.writerow([_harmless(cell) for cell in (*exact, named.subject, named.details)])


def _harmless(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell.startswith(FORMULA) else cell
