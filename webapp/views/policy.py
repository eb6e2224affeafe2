"""The routing policy of each schema: what it says, what another would do, and how it came about."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from webapp.actions import schemas
from webapp.errors import CaseloopError
from webapp.forms import RestoreForm
from webapp.models import Policy, Schema
from webapp.policyform import PolicyForm
from webapp.queries import learning, policies, trying
from webapp.queries import schemas as in_force
from webapp.roles import STAFF, Role, allow, person_of, roles_of


@require_GET
@allow(*STAFF)
def first_page(request: HttpRequest) -> HttpResponse:
    """Lead to the policy of the first schema."""
    row = Schema.objects.order_by("-name").first()
    return redirect("policy-of", row.name) if row else render(request, "policy.html", {"title": _("Policy")})


@require_GET
@allow(*STAFF)
def policy_page(request: HttpRequest, schema: str) -> HttpResponse:
    """Show the policy in force and its history."""
    row = get_object_or_404(Schema, name=schema)
    return _page(request, row, PolicyForm(row))


@require_POST
@allow(Role.ADMIN)
def try_policy(request: HttpRequest, schema: str) -> HttpResponse:
    """Show what the values of the form would have done; nothing is changed."""
    row = get_object_or_404(Schema, name=schema)
    form = PolicyForm(row, request.POST, is_trial=True)
    tried = trying.compare(row, form.row.parsed, form.policy) if form.is_valid() and form.policy else None
    return _page(request, row, form, tried)


@require_POST
@allow(Role.ADMIN)
def set_policy(request: HttpRequest, schema: str) -> HttpResponse:
    """Put the values of the form in force."""
    row = get_object_or_404(Schema, name=schema)
    form = PolicyForm(row, request.POST)
    if not form.is_valid() or form.policy is None:
        return _page(request, row, form)
    reason, seen = form.cleaned_data["reason"], form.cleaned_data["instead_of"]
    try:
        schemas.set_policy(row, form.policy, reason=reason, by=person_of(request), instead_of=seen)
    except CaseloopError as exc:
        messages.error(request, str(exc))
    else:
        messages.success(request, _("The policy is in force for what is predicted from now on."))
    return redirect("policy-of", row.name)


@require_POST
@allow(Role.ADMIN)
def restore_policy(request: HttpRequest, pk: int) -> HttpResponse:
    """Put an earlier policy in force again."""
    earlier = get_object_or_404(Policy.objects.select_related("schema"), pk=pk)
    form = RestoreForm(request.POST)
    if not form.is_valid():
        messages.error(request, _("Say in a few words why this policy is put back."))
        return redirect("policy-of", earlier.schema.name)
    reason, seen = form.cleaned_data["reason"], form.cleaned_data["instead_of"]
    try:
        schemas.restore_policy(earlier, reason=reason, by=person_of(request), instead_of=seen)
    except CaseloopError as exc:
        messages.error(request, str(exc))
    else:
        messages.success(request, _("The earlier policy is in force again, for what is predicted from now on."))
    return redirect("policy-of", earlier.schema.name)


def _page(request: HttpRequest, row: Schema, form: PolicyForm, tried: trying.Tried | None = None) -> HttpResponse:
    version = in_force.answering_version(row)
    context = {
        "schema": row,
        "schemas": Schema.objects.order_by("-name"),
        "form": form,
        "tried": tried,
        "most": trying.MOST,
        "history": policies.history(row),
        "shown": policies.SHOWN,
        "is_admin": Role.ADMIN in roles_of(request.user),
        "version": version,
        "leaks": learning.leaks(version),
        "lease_minutes": settings.LEASE_MINUTES,
        "title": _("Policy: %(title)s") % {"title": row.title},
    }
    is_shown = request.htmx or not form.errors  # type: ignore[attr-defined]
    return render(request, "policy.html", context, status=200 if is_shown else 422)  # htmx shows no answer with 422
