"""When trainings begin by themselves."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

from webapp.actions import schedules
from webapp.errors import CaseloopError
from webapp.forms import ScheduleForm
from webapp.models import Profile, Schema
from webapp.queries import schedules as times
from webapp.roles import Role, allow, person_of


@require_GET
@allow(Role.ADMIN)
def schedule_page(request: HttpRequest) -> HttpResponse:
    """Show, schema by schema, when trainings begin."""
    rows = [times.of(schema) for schema in Schema.objects.order_by("-name")]
    context = {"rows": rows, "days": times.DAYS, "most": times.MOST_CASES, "zone": settings.TIME_ZONE}
    context |= {"profiles": Profile, "title": "When to train"}
    return render(request, "schedule.html", context)


@require_POST
@allow(Role.ADMIN)
def set_schedule(request: HttpRequest, schema: str) -> HttpResponse:
    """Change when the trainings of a schema begin."""
    row = get_object_or_404(Schema, name=schema)
    form = ScheduleForm(request.POST)
    if not form.is_valid():
        wrong = "; ".join(f"{name}: {' '.join(map(str, found))}" for name, found in form.errors.items())
        messages.error(request, f"Nothing was changed. {wrong}")
        return redirect("schedule")
    given = form.cleaned_data
    try:
        schedules.put(row, days=given["days"], at=given["at"], profile=given["profile"], by=person_of(request))
        schedules.wait_for_labels(row, given["train_after"], by=person_of(request))
    except CaseloopError as exc:
        messages.error(request, str(exc))
        return redirect("schedule")
    messages.success(request, f"Set for {row.title}.")
    return redirect("schedule")
