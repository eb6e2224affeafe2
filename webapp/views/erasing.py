"""Erasing a case."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from webapp.actions import erasing
from webapp.errors import CaseloopError
from webapp.queries import lineage
from webapp.roles import Role, allow, case_for, person_of


@require_http_methods(["GET", "POST"])
@allow(Role.ADMIN)
def erase(request: HttpRequest, pk: int) -> HttpResponse:
    """Say what erasing a case does; do it once its id is typed."""
    case = case_for(request.user, pk)
    failure = ""
    if request.method == "POST":
        given = request.POST.get("reason", ""), request.POST.get("confirmation", "")
        try:
            erasing.erase(case, by=person_of(request), reason=given[0], confirmation=given[1])
        except CaseloopError as exc:
            failure = str(exc)
        else:
            messages.success(request, f"Case {case.pk} is erased.")
            return redirect("models" if lineage.taints() else "queue")
    uses = [use for use in lineage.of(case) if use.versions and use.is_learnt]
    context = {"case": case, "uses": uses, "failure": failure, "title": f"Erase case {case.external_id}"}
    return render(request, "erase.html", context, status=422 if failure else 200)
