"""Escalations: raising one, and the alert that stays until somebody acknowledges it."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from webapp.actions import escalations, reveals
from webapp.errors import CaseloopError
from webapp.forms import storable
from webapp.models import Escalation
from webapp.queries import alerts, wording
from webapp.roles import EVERYONE, STAFF, Role, allow, case_for, person_of, roles_of
from webapp.views.cases import keep_draft


@require_GET
@allow(*STAFF)
def alerts_page(request: HttpRequest) -> HttpResponse:
    """List the open escalations, and how long others waited."""
    found, handled = alerts.open_ones(), alerts.handled()
    typical = alerts.typical(handled)
    context = {
        "open": [(one, reveals.note_for(one.case, person_of(request), one.note)) for one in found],
        "handled": [(one.escalation, wording.duration(one.seconds)) for one in handled],
        "typical": "" if typical is None else wording.duration(typical),
        "title": _("Alerts (%(count)d)") % {"count": len(found)},
    }
    return render(request, "alerts.html", context)


@require_GET
@allow(*STAFF)
def bar(request: HttpRequest) -> HttpResponse:
    """Return the part of every page that shows the open escalations, unless it shows them already."""
    if request.GET.get("known") == "".join(f"{one.pk}," for one in alerts.open_ones()):
        return HttpResponse(status=204)  # Nothing is read out again to who listens to the page
    return render(request, "alert_bar.html")


@require_POST
@allow(*EVERYONE)
def escalate(request: HttpRequest, pk: int) -> HttpResponse:
    """Raise the alarm about a case; the page stays as it is."""
    case = case_for(request.user, pk)
    escalations.escalate(case, person_of(request), note=storable(request.POST.get("note", "")).strip())
    if request.htmx:  # type: ignore[attr-defined]
        return render(request, "escalated.html")
    if Role.SUPERVISOR in roles_of(request.user):
        keep_draft(request, case)
    messages.success(request, _("Escalated: the alert stays on every supervisor's and admin's page."))
    return redirect("case", pk=pk)


@require_POST
@allow(*STAFF)
def acknowledge(request: HttpRequest, pk: int) -> HttpResponse:
    """Take an escalation on, and open its case."""
    escalation = get_object_or_404(Escalation, pk=pk)
    try:
        escalations.acknowledge(escalation, person_of(request))
    except CaseloopError as exc:
        messages.error(request, str(exc))
        return redirect("alerts")
    return redirect("case", pk=escalation.case_id)
