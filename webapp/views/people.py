"""Who may be here."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from webapp.actions import people, second_factor
from webapp.errors import CaseloopError
from webapp.forms import PersonForm, RoleForm
from webapp.queries import people as who
from webapp.roles import Role, allow, person_of


@require_GET
@allow(Role.ADMIN)
def people_list(request: HttpRequest) -> HttpResponse:
    """List the people, with their roles and whether they may be here."""
    return _page(request)


@require_POST
@never_cache
@allow(Role.ADMIN)
def add(request: HttpRequest) -> HttpResponse:
    """Add a person, and show this once the link where they set a password."""
    form = PersonForm(request.POST, use_required_attribute=False)
    if not form.is_valid():
        return _page(request, form)
    chosen = form.cleaned_data
    try:
        user, path = people.add(
            chosen["username"], email=chosen["email"], role=Role(chosen["role"]), by=person_of(request)
        )
    except CaseloopError as exc:
        form.add_error(None, str(exc))
        return _page(request, form)
    return _page(request, link=request.build_absolute_uri(path), link_of=user)


@require_POST
@allow(Role.ADMIN)
def change_role(request: HttpRequest, pk: int) -> HttpResponse:
    """Give a person another role."""
    user, form = get_object_or_404(User, pk=pk), RoleForm(request.POST)
    try:
        if form.is_valid():
            people.change_role(user, Role(form.cleaned_data["role"]), by=person_of(request))
            messages.success(request, f"{user} is {form.cleaned_data['role']} from now on.")
    except CaseloopError as exc:
        messages.error(request, str(exc))
    return redirect("people")


@require_POST
@never_cache
@allow(Role.ADMIN)
def reset_password(request: HttpRequest, pk: int) -> HttpResponse:
    """End a person's password, and show this once the link where they set another."""
    user = get_object_or_404(User, pk=pk)
    try:
        path = people.reset_password(user, by=person_of(request))
    except CaseloopError as exc:
        messages.error(request, str(exc))
        return redirect("people")
    return _page(request, link=request.build_absolute_uri(path), link_of=user)


@require_POST
@allow(Role.ADMIN)
def reset_second_factor(request: HttpRequest, pk: int) -> HttpResponse:
    """Let a person who lost their phone in with the password alone."""
    user = get_object_or_404(User, pk=pk)
    try:
        second_factor.reset(user, by=person_of(request))
    except CaseloopError as exc:
        messages.error(request, str(exc))
    else:
        messages.success(request, f"{user} signs in without a code from now on, and can set one up again.")
    return redirect("people")


@require_POST
@allow(Role.ADMIN)
def deactivate(request: HttpRequest, pk: int) -> HttpResponse:
    """End a person's access."""
    try:
        people.deactivate(get_object_or_404(User, pk=pk), by=person_of(request))
    except CaseloopError as exc:
        messages.error(request, str(exc))
    return redirect("people")


@require_POST
@allow(Role.ADMIN)
def reactivate(request: HttpRequest, pk: int) -> HttpResponse:
    """Let a person in again."""
    people.reactivate(get_object_or_404(User, pk=pk), by=person_of(request))
    return redirect("people")


def _page(
    request: HttpRequest, form: PersonForm | None = None, *, link: str = "", link_of: User | None = None
) -> HttpResponse:
    context = {
        "people": who.everybody(),
        "label_studio_url": settings.LABEL_STUDIO_URL,
        "is_embedded": settings.LABEL_STUDIO_IS_EMBEDDED,
        "form": form or PersonForm(use_required_attribute=False),
        "every_role": list(Role),
        "link": link,
        "link_of": link_of,
        "hours": settings.PASSWORD_RESET_TIMEOUT // 3600,
        "title": "People",
    }
    return render(request, "people.html", context, status=422 if form else 200)
