"""The queue, and the page on which a case is decided."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from webapp import forms
from webapp.actions import reviews
from webapp.errors import StaleCase
from webapp.models import CaseState, Schema
from webapp.queries import casepage, queue
from webapp.roles import EVERYONE, STAFF, Role, allow, case_for, person_of, roles_of

LISTED = (CaseState.REVIEW, CaseState.LABELLING, CaseState.ACCEPTED, CaseState.DECIDED, CaseState.NEW)


@require_GET
@allow(*STAFF)
def queue_page(request: HttpRequest) -> HttpResponse:
    """List the cases of one state, most harm first."""
    state = (
        CaseState(request.GET.get("state", "")) if request.GET.get("state") in CaseState.values else CaseState.REVIEW
    )
    schema = Schema.objects.filter(name=request.GET.get("schema", "")).first()
    page = queue.page(state, schema=schema, after=request.GET.get("after", ""))
    context = {
        "page": page,
        "state": state,
        "states": LISTED,
        "schema": schema,
        "schemas": Schema.objects.order_by("-name"),
        "title": f"Queue ({page.total})",
    }
    return render(request, "queue.html", context)


@require_POST
@allow(Role.SUPERVISOR)
def next_case(request: HttpRequest) -> HttpResponse:
    """Lease the case that matters most, and open it."""
    case = reviews.take_next(person_of(request))
    if case is None:
        messages.info(request, "Nothing waits for review.")
        return redirect("queue")
    return redirect("case", pk=case.pk)


@require_http_methods(["GET", "POST"])
@allow(*EVERYONE)
def case_page(request: HttpRequest, pk: int) -> HttpResponse:
    """Show a case; take a supervisor's decision on it."""
    case = case_for(request.user, pk)
    is_supervisor = Role.SUPERVISOR in roles_of(request.user)
    if request.method == "POST" and is_supervisor:
        return _decide(request, pk)
    if is_supervisor and case.state == CaseState.REVIEW:
        reviews.take(case, person_of(request))
        case.refresh_from_db(fields=["held_by", "held_until"])
    return _show(request, casepage.page(case), can_decide=is_supervisor, revision=case.revision)


@require_POST
@allow(Role.SUPERVISOR)
def release(request: HttpRequest, pk: int) -> HttpResponse:
    """Let a case go that this person holds."""
    reviews.release(case_for(request.user, pk), person_of(request))
    return redirect("queue")


def _decide(request: HttpRequest, pk: int) -> HttpResponse:
    case = case_for(request.user, pk)
    form = forms.read_answers(casepage.page(case), request.POST)
    errors, status = form.errors, 422
    revision = form.revision  # Of a faulty form too: mended, it is still as old as it was
    if not errors:
        try:
            reviews.decide(
                case,
                person_of(request),
                answers=form.answers,
                revision=form.revision,
                shown=form.shown,
                note=form.note,
            )
        except StaleCase as exc:
            case.refresh_from_db()
            errors, status, revision = (str(exc),), 409, case.revision
    if errors:
        for error in errors:
            messages.error(request, error)
        page = casepage.page(case, chosen=form.answers)
        return _show(request, page, can_decide=True, revision=revision, note=form.note, status=status)
    messages.success(request, f"Case {case.external_id} is decided.")
    return next_case(request)


def _show(
    request: HttpRequest,
    page: casepage.CasePage,
    *,
    can_decide: bool,
    revision: int,
    note: str = "",
    status: int = 200,
) -> HttpResponse:
    context = {
        "note": note,
        "revision": revision,
        "page": page,
        "case": page.case,
        "can_decide": can_decide,
        "is_mine": page.case.held_by_id == request.user.pk,
        "title": f"Case {page.case.external_id}",
    }
    return render(request, "case.html", context, status=status)
