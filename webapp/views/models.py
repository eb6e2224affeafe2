"""Trainings and versions."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from webapp.actions import promotions, runs
from webapp.errors import CaseloopError
from webapp.forms import PromotionForm, RetrainForm
from webapp.models import ModelKind, ModelVersion, Profile, Promotion, Run, Schema, Snapshot
from webapp.queries import gate, learning, ledger, lineage, savepoints, snapshots, wording
from webapp.queries.schemas import champion
from webapp.roles import STAFF, Role, allow, person_of, roles_of


@require_GET
@allow(*STAFF)
def overview(request: HttpRequest) -> HttpResponse:
    """Show, schema by schema, the version in use, the runs and the ledger."""
    context = {
        "rows": learning.overview(),
        "taints": lineage.taints(),
        "profiles": Profile,
        "is_admin": Role.ADMIN in roles_of(request.user),
        "title": _("Models"),
    }
    return render(request, "models.html", context)


@require_POST
@allow(Role.ADMIN)
def retrain(request: HttpRequest, schema: str) -> HttpResponse:
    """Queue a training."""
    row = get_object_or_404(Schema, name=schema)
    form = RetrainForm(request.POST)
    if not form.is_valid():
        messages.error(request, f"Choose how much to learn: {' or '.join(Profile.values)}.")
        return redirect("models")
    try:
        run = runs.request(row, by=person_of(request), profile=form.cleaned_data["profile"])
    except CaseloopError as exc:
        messages.error(request, str(exc))
        return redirect("models")
    return redirect("run", pk=run.pk)


@require_GET
@allow(*STAFF)
def run_page(request: HttpRequest, pk: int) -> HttpResponse:
    """Show one run; its middle is fetched again while it is open."""
    run = get_object_or_404(Run.objects.select_related("schema", "version", "snapshot", "requested_by"), pk=pk)
    template = "run_progress.html" if request.htmx else "run.html"  # type: ignore[attr-defined]
    context = {
        "run": run,
        "profile": Profile(run.profile).label,
        "progress": wording.progress(run.progress) if run.progress else "",
        "can_resume": savepoints.can_resume(run),
        "is_admin": Role.ADMIN in roles_of(request.user),
        "title": _("Training %(number)s") % {"number": run.pk},
    }
    return render(request, template, context)


@require_POST
@allow(Role.ADMIN)
def resume(request: HttpRequest, pk: int) -> HttpResponse:
    """Queue a training that goes on from where one died."""
    try:
        run = runs.resume(get_object_or_404(Run, pk=pk), by=person_of(request))
    except CaseloopError as exc:
        messages.error(request, str(exc))
        return redirect("run", pk=pk)
    return redirect("run", pk=run.pk)


@require_POST
@allow(Role.ADMIN)
def cancel(request: HttpRequest, pk: int) -> HttpResponse:
    """End an open run."""
    if not runs.cancel(get_object_or_404(Run, pk=pk), by=person_of(request)):
        messages.info(request, _("This run has ended already."))
    return redirect("run", pk=pk)


@require_GET
@allow(*STAFF)
def version_page(request: HttpRequest, pk: int) -> HttpResponse:
    """Show one version beside the one that was in use when it was trained or registered."""
    version = get_object_or_404(
        ModelVersion.objects.select_related("schema", "schema_version", "run"), pk=pk, kind=ModelKind.TRAINED
    )
    evaluation, other, rows = learning.compare(version)
    context = {
        "version": version,
        "evaluation": evaluation,
        "other": other,
        "rows": rows,
        "later": learning.measured_later(version),
        "served": learning.served(version),
        "unanswered": learning.unanswered(version),
        "uncalibrated": learning.uncalibrated(version),
        "faults": learning.faults(version),
        "leaks": learning.leaks(version),
        "erased": lineage.erased(version).count(),
        "is_champion": champion(version.schema) == version,
        "standing": gate.standing(version),
        "told": gate.told(evaluation.gate) if evaluation else None,
        "is_admin": Role.ADMIN in roles_of(request.user),
        "title": _("Version %(number)s") % {"number": version.number},
    }
    return render(request, "version.html", context)


@require_POST
@allow(Role.ADMIN)
def promote(request: HttpRequest, pk: int) -> HttpResponse:
    """Put a version in use."""
    version = get_object_or_404(ModelVersion.objects.select_related("schema"), pk=pk)
    form = PromotionForm(request.POST)
    if not form.is_valid():
        messages.error(request, _("Say in a few words why this version is put in use."))
        return redirect("version", pk=pk)
    try:
        promotions.promote(
            version,
            by=person_of(request),
            reason=form.cleaned_data["reason"],
            override=form.cleaned_data["override"],
        )
    except CaseloopError as exc:
        messages.error(request, str(exc))
        return redirect("version", pk=pk)
    messages.success(
        request, _("Version %(number)s is in use; open cases are predicted again.") % {"number": version.number}
    )
    return redirect("models")


@require_POST
@allow(Role.ADMIN)
def roll_back(request: HttpRequest, pk: int) -> HttpResponse:
    """Leave the version in use for the one before it."""
    leaving = get_object_or_404(ModelVersion.objects.select_related("schema"), pk=pk)
    form = PromotionForm(request.POST)
    if not form.is_valid():
        messages.error(request, _("Say in a few words why version %(number)s is left.") % {"number": leaving.number})
        return redirect("models")
    try:
        row = promotions.roll_back(leaving, by=person_of(request), reason=form.cleaned_data["reason"])
    except CaseloopError as exc:
        messages.error(request, str(exc))
        return redirect("models")
    number = {"number": row.version.number}
    messages.success(request, _("Version %(number)s is in use again; open cases are predicted again.") % number)
    return redirect("models")


@require_GET
@allow(*STAFF)
def promotion_page(request: HttpRequest, pk: int) -> HttpResponse:
    """Show one row of the ledger, with what the gate said then."""
    row = get_object_or_404(Promotion.objects.select_related("schema", "version", "replaced", "promoted_by"), pk=pk)
    context = {
        "row": row,
        "told": gate.told(row.report.get("gate", {})),
        "until": ledger.until(row),
        "title": f"Ledger: version {row.version.number}",
    }
    return render(request, "promotion.html", context)


@require_GET
@allow(*STAFF)
def snapshot_page(request: HttpRequest, pk: int) -> HttpResponse:
    """Show what differs between a snapshot and the one before it."""
    snapshot = get_object_or_404(Snapshot.objects.select_related("schema_version__schema"), pk=pk)
    before = snapshots.before(snapshot)
    context = {
        "snapshot": snapshot,
        "before": before,
        "change": snapshots.compare(before, snapshot) if before else None,
        "title": _("Snapshot %(digest)s") % {"digest": snapshot.digest[:8]},
    }
    return render(request, "snapshot.html", context)
