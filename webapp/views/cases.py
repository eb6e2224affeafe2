"""The page on which a case is decided."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from webapp import answerform, forms
from webapp.actions import drafts, leases, reveals, reviews, sightings
from webapp.answerform import Answered
from webapp.errors import CaseloopError, NotSendable, StaleCase
from webapp.models import Case, CaseState, Correction, Cover, Draft, RevealReason
from webapp.queries import asks, casepage, lineage, receipts, schemas, sides, similar, wording
from webapp.roles import EVERYONE, STAFF, Role, allow, case_for, person_of, roles_of
from webapp.views.queue import next_case

HIDES = "hides_names"  # In the session


@require_http_methods(["GET", "POST"])
@allow(*EVERYONE)
def case_page(request: HttpRequest, pk: int) -> HttpResponse:
    """Show a case; take a supervisor's decision on it."""
    case = case_for(request.user, pk)
    is_supervisor = Role.SUPERVISOR in roles_of(request.user)
    if request.method == "POST" and is_supervisor:
        return _review(request, pk, _decide)
    if is_supervisor and case.state == CaseState.REVIEW:
        leases.take(case, person_of(request))
        case.refresh_from_db(fields=["held_by", "held_until"])
    cover = reveals.cover_for(case, person_of(request))
    beside = _beside(request, case, cover)
    page = casepage.page(case, look=request.GET.get("look", ""), sides=beside, cover=cover)
    draft = drafts.of(case, person_of(request)) if is_supervisor else None
    if draft is None:
        return _show(request, page, can_decide=is_supervisor, revision=case.revision)
    form = answerform.read_answers(page, _sent(draft))
    page = casepage.page(case, chosen=form.typed, look=page.look, since=form.known, sides=beside, cover=cover)
    return _show(request, page, can_decide=True, revision=case.revision, form=form, draft=draft)


@require_POST
@allow(Role.SUPERVISOR)
def release(request: HttpRequest, pk: int) -> HttpResponse:
    """Let a case go that this person holds."""
    case = case_for(request.user, pk)
    keep_draft(request, case)
    leases.release(case, person_of(request))
    return redirect("queue")


@require_POST
@allow(Role.SUPERVISOR)
def leave(request: HttpRequest, pk: int) -> HttpResponse:
    """Take note that the page of a case was left; what it sends cannot wait for an answer."""
    case = case_for(request.user, pk)
    with suppress(ValueError):  # What is no moment was not sent by our page
        until = datetime.fromisoformat(request.POST.get("until", ""))
        if timezone.is_aware(until):
            leases.leave(case, person_of(request), until=until)
    return HttpResponse(status=204)


@require_POST
@allow(*STAFF)
def reveal(request: HttpRequest, pk: int) -> HttpResponse:
    """Show this person the names of a case for a while; what was typed is kept."""
    case = case_for(request.user, pk)
    reason = request.POST.get("reveal_reason", "")
    note = forms.storable(request.POST.get("reveal_note", "")).strip()[:500]
    if reason not in RevealReason or (reason == RevealReason.OTHER and not note):
        messages.error(request, _("Choose what you need the names for; say it in words where it is another reason."))
    else:
        reveals.reveal(case, person_of(request), RevealReason(reason), note=note)
    if Role.SUPERVISOR in roles_of(request.user):
        keep_draft(request, case)
    return redirect("case", pk=case.pk)


@require_POST
@allow(Role.SUPERVISOR)
def draft(request: HttpRequest, pk: int) -> HttpResponse:
    """Keep what is typed on the page of a case."""
    is_kept = keep_draft(request, case_for(request.user, pk))
    return render(request, "draft.html", {"is_kept": is_kept, "now": timezone.now()})


@require_POST
@allow(Role.SUPERVISOR)
def discard_draft(request: HttpRequest, pk: int) -> HttpResponse:
    """Forget what was typed on the page of a case."""
    case = case_for(request.user, pk)
    drafts.discard(case, person_of(request))
    return redirect("case", pk=case.pk)


@require_POST
@allow(*STAFF)
def hide_names(request: HttpRequest, pk: int) -> HttpResponse:
    """Hide who answered what, and what the model did, on cases that several people answered; or show it again."""
    case = case_for(request.user, pk)
    request.session[HIDES] = not request.session.get(HIDES, False)
    return redirect("case", pk=case.pk)


@require_POST
@allow(Role.SUPERVISOR)
def undo(request: HttpRequest) -> HttpResponse:
    """Take back the last thing that this person did with a case, and open that case."""
    try:
        case = reviews.undo(person_of(request))
    except CaseloopError as exc:
        messages.error(request, str(exc))
        return redirect("queue")
    messages.success(request, _("Taken back; what you had typed is filled in again."))
    return redirect("case", pk=case.pk)


def keep_draft(request: HttpRequest, case: Case) -> bool:
    """Keep what was sent with a form of the case's page that does not decide it; tell whether there was anything.

    A page on which nothing was changed is no draft.
    """
    revision = request.POST.get("revision", "")
    if not revision.isdecimal() or len(revision) > forms.LONGEST_NUMBER:
        return False
    if drafts.of(case, person_of(request)) is None:
        page = casepage.page(case, sides=_beside(request, case, None))
        if not answerform.is_changed(page, request.POST):
            return False
    return drafts.save(case, person_of(request), _values(request.POST), revision=int(revision))


def _values(form: QueryDict) -> dict[str, list[str]]:
    """Return what a form holds, as the database can keep it."""
    names = (name for name in form if name != "csrfmiddlewaretoken" and not name.startswith("reveal_"))
    return {forms.storable(name): [forms.storable(value) for value in form.getlist(name)] for name in names}


def _sent(draft: Draft) -> QueryDict:
    """Return a draft as its form would send it."""
    form = QueryDict(mutable=True)
    for name, values in draft.values.items():
        form.setlist(name, values)
    return form


@require_http_methods(["GET", "POST"])
@allow(Role.SUPERVISOR)
def hold(request: HttpRequest, pk: int) -> HttpResponse:
    """Say in a line who holds a case; extend the lease where the page tells that its reader is at work."""
    case = case_for(request.user, pk)
    if request.method == "POST" and case.state == CaseState.REVIEW:
        leases.take(case, person_of(request))
        case.refresh_from_db(fields=["held_by", "held_until"])
    return render(request, "hold.html", {"case": case, **_holding(request, case)})


@require_GET
@allow(*STAFF)
def similar_cases(request: HttpRequest, pk: int) -> HttpResponse:
    """Show the labelled cases that are most like this one; of a blind case none, since they suggest an answer."""
    case = case_for(request.user, pk)
    is_blind = case.is_audit and case.is_open
    found = [] if is_blind else similar.labelled(case, schemas.newest_version(case.schema).parsed)
    name = "similar.html" if request.htmx else "similar_page.html"  # type: ignore[attr-defined]
    return render(request, name, {"similar": found, "case": case, "title": _("Similar cases")})


@require_POST
@allow(Role.SUPERVISOR)
def send_back(request: HttpRequest, pk: int) -> HttpResponse:
    """Let annotators answer a case again."""
    return _review(request, pk, _send_back)


@require_POST
@allow(Role.SUPERVISOR)
def second_opinion(request: HttpRequest, pk: int) -> HttpResponse:
    """Leave a case to another supervisor."""
    return _review(request, pk, _ask_second_opinion)


def _review(request: HttpRequest, pk: int, act: Callable[[HttpRequest, Case, Answered], str]) -> HttpResponse:
    """Do something with a case and open the next one; where it cannot be done, nothing that was typed is lost."""
    case = case_for(request.user, pk)
    form = answerform.read_answers(casepage.page(case, sides=_beside(request, case, None)), request.POST)
    errors, status = form.errors if act is _decide else (), 422
    revision = form.revision  # Of a faulty form too: mended, it is still as old as it was
    if not errors:
        try:
            messages.success(request, act(request, case, form), extra_tags="undo")
        except StaleCase as exc:
            case.refresh_from_db()
            errors, status, revision = (str(exc),), 409, case.revision
        except CaseloopError as exc:
            errors = (str(exc),)
    if errors:
        for error in errors:
            messages.error(request, error)
        cover = reveals.cover_for(case, person_of(request))
        beside = _beside(request, case, cover)
        page = casepage.page(case, chosen=form.typed, since=form.known, sides=beside, cover=cover)
        return _show(request, page, can_decide=True, revision=revision, form=form, status=status)
    drafts.send(case, person_of(request), _values(request.POST), revision=form.revision)
    return next_case(request)


def _beside(request: HttpRequest, case: Case, cover: Cover | None) -> sides.Sides | None:
    """Return what several people answered, for those who may see the answers of others."""
    if not roles_of(request.user) & set(STAFF):
        return None
    schema = schemas.newest_version(case.schema).parsed
    return sides.of(case, schema, cover=cover, is_hidden=request.session.get(HIDES, False))


def _decide(request: HttpRequest, case: Case, form: Answered) -> str:
    reviews.decide(
        case,
        person_of(request),
        answers=form.answers,
        revision=form.revision,
        shown=form.shown,
        reason=form.reason,
        note=form.note,
    )
    return _("Case %(id)s is decided.") % {"id": case.external_id}


def _send_back(request: HttpRequest, case: Case, form: Answered) -> str:
    to = request.POST.get("to", "")
    asked = next((one for one, _answered in asks.annotators(case) if str(one.pk) == to), None)
    if to and asked is None:
        raise NotSendable(_("This annotator cannot be asked; choose another."))
    reviews.send_back(case, person_of(request), revision=form.revision, note=form.note, to=asked)
    return _("Case %(id)s is with annotators again.") % {"id": case.external_id}


def _ask_second_opinion(request: HttpRequest, case: Case, form: Answered) -> str:
    reviews.ask_second_opinion(case, person_of(request), revision=form.revision, note=form.note)
    return _("Case %(id)s waits for another supervisor.") % {"id": case.external_id}


def _show(
    request: HttpRequest,
    page: casepage.CasePage,
    *,
    can_decide: bool,
    revision: int,
    form: Answered | None = None,
    draft: Draft | None = None,
    status: int = 200,
) -> HttpResponse:
    sightings.record(page.case, person_of(request))
    context = {
        "form": form,
        "draft": draft,
        "reasons": Correction.choices,
        "reveal_reasons": RevealReason.choices,
        "revealed_until": None if page.cover else reveals.until(page.case, person_of(request)),
        "annotators": asks.annotators(page.case) if can_decide and page.case.is_open else [],
        "revision": revision,
        "page": page,
        "case": page.case,
        "can_decide": can_decide,
        "uses": lineage.of(page.case) if roles_of(request.user) & set(STAFF) and not page.is_blind else [],
        "receipts": [] if page.is_blind else receipts.of_case(page.case),
        "is_admin": Role.ADMIN in roles_of(request.user),
        "is_staff": bool(roles_of(request.user) & set(STAFF)),
        "title": _("Case %(id)s") % {"id": page.case.external_id},
    }
    return render(request, "case.html", context | _holding(request, page.case), status=status)


def _holding(request: HttpRequest, case: Case) -> dict[str, object]:
    """Return what hold.html shows. Who decides is told when nobody keeps the case from others any more."""
    is_mine = case.held_by_id == request.user.pk and case.is_held
    is_free = case.state == CaseState.REVIEW and not case.is_held and Role.SUPERVISOR in roles_of(request.user)
    return {
        "is_mine": is_mine,
        "until": case.held_until.isoformat() if is_mine and case.held_until else "",
        "changed": _changed(request, case),
        "held": _("not held any more: another may take it") if is_free else wording.held(case, request.user),
    }


def _changed(request: HttpRequest, case: Case) -> str:
    """Say that a case is not any more what the reader has on the screen; who changed it, unless the case is blind."""
    shown = request.GET.get("revision", "")
    if not shown.isdecimal() or shown == str(case.revision):
        return ""
    newest = case.annotations.select_related("annotator").order_by("id").last()
    if newest is None or (case.is_audit and case.is_open) or request.session.get(HIDES):
        return _("changed meanwhile; what you typed stays")
    when = date_format(timezone.localtime(newest.created_at), "H:i")
    return _("changed by %(name)s at %(time)s; what you typed stays") % {"name": newest.annotator.name, "time": when}
