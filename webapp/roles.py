"""Who may open what: the one place where roles are named, and the one way to reach a case."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from functools import wraps

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect

from webapp.models import Case, CaseState, SavedView


class Role(StrEnum):
    """The three roles; each is a group of that name."""

    ANNOTATOR = "annotator"
    SUPERVISOR = "supervisor"
    ADMIN = "admin"


STAFF = (Role.SUPERVISOR, Role.ADMIN)
EVERYONE = tuple(Role)

View = Callable[..., HttpResponse]


def allow(*roles: Role, is_for_set_up: bool = False) -> Callable[[View], View]:
    """Let only people of the given roles through; who is not signed in is sent to the sign-in page.

    Who must have a second factor and did not sign in with it is sent to set it up, but for the pages where that is
    done. A page that asks for a part of itself then is left as it is.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def checked(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
            if not request.user.is_authenticated:
                if request.htmx:  # type: ignore[attr-defined]
                    return HttpResponse(status=401)  # Or the sign-in page would stand in the place of the part
                return redirect_to_login(request.get_full_path())
            if not roles_of(request.user) & set(roles):
                raise PermissionDenied(f"this page is for: {', '.join(roles)}")
            if not is_for_set_up and lacks_second_factor(request):
                return HttpResponse(status=401) if request.htmx else redirect("two-factor")  # type: ignore[attr-defined]
            return view(request, *args, **kwargs)

        checked.roles = frozenset(roles)  # type: ignore[attr-defined]
        return checked

    return decorate


def roles_of(user: AbstractBaseUser | AnonymousUser) -> set[Role]:
    """Return the roles of a person. Asks the database once for each user object."""
    if not isinstance(user, User):
        return set()
    known: set[Role] | None = getattr(user, "_caseloop_roles", None)
    if known is None:
        names = set(user.groups.values_list("name", flat=True))
        known = {role for role in Role if role in names}
        user._caseloop_roles = known  # type: ignore[attr-defined]
    return known


def needs_second_factor(user: AbstractBaseUser | AnonymousUser) -> bool:
    """Whether a person must sign in with a code as well."""
    return settings.REQUIRE_TWO_FACTOR and bool(roles_of(user) & set(STAFF))


def lacks_second_factor(request: HttpRequest) -> bool:
    """Whether somebody must sign in with a code as well, and did not."""
    return needs_second_factor(request.user) and not request.user.is_verified()  # type: ignore[union-attr]


def person_of(request: HttpRequest) -> User:
    """Return the person who is signed in, in a view that `allow` guards."""
    if not isinstance(request.user, User):
        raise PermissionDenied("sign in first")
    return request.user


def visible_cases(user: AbstractBaseUser | AnonymousUser) -> QuerySet[Case]:
    """Return the cases that a person may see: supervisors and admins all, annotators those that they answered."""
    roles = roles_of(user)
    cases = Case.objects.exclude(state=CaseState.ERASED)
    if roles & set(STAFF):
        return cases
    if Role.ANNOTATOR in roles and isinstance(user, User):
        return cases.filter(annotations__annotator__user=user).distinct()
    return cases.none()


def case_for(user: AbstractBaseUser | AnonymousUser, pk: int) -> Case:
    """Return one case if the person may see it.

    Raises:
        Http404: there is no such case, or it is not theirs; the answer does not tell which.
    """
    case = visible_cases(user).select_related("schema", "stored_text", "current_prediction__version", "held_by")
    try:
        return case.get(pk=pk)
    except Case.DoesNotExist as exc:
        raise Http404("no such case") from exc


def view_for(user: AbstractBaseUser | AnonymousUser, pk: int) -> SavedView:
    """Return one saved view if it is the person's own.

    Raises:
        Http404: there is no such view, or it is another person's; the answer does not tell which.
    """
    found = SavedView.objects.filter(owner=user.pk, pk=pk).first()
    if found is None:
        raise Http404("no such view")
    return found
