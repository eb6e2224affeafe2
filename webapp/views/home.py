"""The home page of each role, and the state of the loop."""

from __future__ import annotations

import time

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET

from webapp.actions import audit, people, reveals
from webapp.actions import labelling as next_cases
from webapp.forms import LONGEST_NUMBER
from webapp.glossary import TERMS
from webapp.models import LabelStudioProject
from webapp.queries import asks, labelling, loop, today
from webapp.roles import EVERYONE, STAFF, Role, allow, person_of, roles_of

NOT_THERE = gettext_lazy(
    "This case is on its way to Label Studio, or another has it open, or nobody is asked for it any more."
)
DONE = "answered_tasks"  # In the session: when this person answered which tasks in Label Studio
UNTIL_KNOWN_SECONDS = 120  # A webhook tells us within one, else the next poll


@require_GET
@allow(*EVERYONE)
def home(request: HttpRequest) -> HttpResponse:
    """Show what waits for this person."""
    if roles_of(request.user) == {Role.ANNOTATOR}:
        return redirect("label")
    context = {
        "mine": today.waiting(person_of(request)),
        "done": today.done(person_of(request)),
        "loop": loop.status(),
        "is_staff": True,
        "demo_cases": loop.demo_cases(),
        "title": _("Home"),
    }
    if Role.ADMIN in roles_of(request.user):
        context |= {"runs": today.runs(), "imports": today.imports(), "glances": today.glances()}
    return render(request, "home.html", context)


@require_GET
@allow(*EVERYONE)
def now(request: HttpRequest) -> HttpResponse:
    """Show how the loop stands and which parts answer: the part of home pages that is fetched again and again."""
    context = {
        "loop": loop.status(),
        "health": loop.health(),
        "is_staff": bool(roles_of(request.user) & set(STAFF)),
        "title": _("The loop now"),
    }
    return render(request, "now.html" if request.htmx else "now_page.html", context)  # type: ignore[attr-defined]


@require_GET
@allow(Role.ANNOTATOR)
def label(request: HttpRequest) -> HttpResponse:
    """Show an annotator what waits in Label Studio, and what they did."""
    context = {
        "work": labelling.work(person_of(request)),
        "asked": [(ask, reveals.note_for(ask.case, person_of(request), ask.note)) for ask in asks.of(request.user)],
        "loop": loop.status(),
        "is_embedded": settings.LABEL_STUDIO_IS_EMBEDDED,
        "title": _("Label"),
    }
    return render(request, "label.html", context)


@require_GET
@allow(Role.ANNOTATOR)
def open_label_studio(request: HttpRequest, schema: str) -> HttpResponse:
    """Take an annotator to their next case in Label Studio, or to one there, signed in where it is the embedded one."""
    project = get_object_or_404(LabelStudioProject, schema__name=schema)
    if request.GET.get("case"):
        task, missing = next_cases.take(person_of(request), project, _number(request, "case")), str(NOT_THERE)
    else:
        task = next_cases.take_next(person_of(request), project, done=_just_done(request))
        missing = _("No case waits for you at the moment.")
    if task is None:
        messages.info(request, missing)
        return redirect("label")
    audit.record(request.user, "case opened in Label Studio", f"case {task.case_id}")
    path = f"/projects/{project.project}/data?task={task.task}"
    back = request.build_absolute_uri(request.path)
    return redirect(people.label_studio_link(person_of(request), path, back=back))


@require_GET
@allow(*STAFF)
def status(request: HttpRequest) -> HttpResponse:
    """Show cases by state and the health of the parts."""
    context = {
        "loop": loop.status(),
        "engines": loop.engines(),
        "workers": loop.workers(),
        "label_studio_url": settings.LABEL_STUDIO_URL,
        "title": _("Status"),
    }
    return render(request, "status.html", context)


@require_GET
@allow(*EVERYONE)
def keys(request: HttpRequest) -> HttpResponse:
    """Show the keyboard map, which is also on every page."""
    return render(request, "keys_page.html", {"title": _("Keys")})


@require_GET
@allow(*EVERYONE)
def glossary(request: HttpRequest) -> HttpResponse:
    """Show what the words mean that not everybody knows."""
    return render(request, "glossary.html", {"terms": TERMS, "title": _("What the words mean")})


def _just_done(request: HttpRequest) -> list[int]:
    """Return the tasks that this person says to have answered of late, with the one that the address names."""
    now = time.time()
    said = {task: at for task, at in request.session.get(DONE, {}).items() if now - at < UNTIL_KNOWN_SECONDS}
    if task := _number(request, "done"):
        said[str(task)] = now
    request.session[DONE] = said
    return [int(task) for task in said]


def _number(request: HttpRequest, name: str) -> int:
    """Return a number of the address; 0, which nothing has, where it is none."""
    written = request.GET.get(name, "")
    return int(written) if written.isdecimal() and len(written) <= LONGEST_NUMBER else 0
