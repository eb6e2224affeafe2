"""Signing in: with a name and password, and for those who have a second factor, with a code before anything opens."""

from __future__ import annotations

import time
from typing import Any, cast

from axes.handlers.proxy import AxesProxyHandler
from axes.helpers import get_lockout_response
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.forms import AuthenticationForm, SetPasswordForm
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_login_failed
from django.contrib.auth.views import LoginView, LogoutView, PasswordResetConfirmView
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse_lazy
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from webapp.actions import audit, people, second_factor

WAITING = "signing_in"  # In the session: who gave the right password and owes a code
PATIENCE_SECONDS = 300


class SignIn(LoginView):
    """Name and password."""

    template_name = "sign_in.html"
    redirect_authenticated_user = True

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        """Sign in, or ask for the code first."""
        user = form.get_user()
        if not isinstance(user, User) or not second_factor.is_on(user):
            return _entered(user, super().form_valid(form))
        self.request.session.cycle_key()
        self.request.session[WAITING] = {
            "user": user.pk,
            "password": user.get_session_auth_hash(),
            "until": time.time() + PATIENCE_SECONDS,
            "next": self.get_success_url(),
        }
        return redirect("sign-in-code")

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        """Refuse; the log has whom it was tried for, if there is such a person."""
        if form.non_field_errors() and not getattr(self.request, "axes_locked_out", False):
            _refused(form.cleaned_data.get("username", ""))
        return super().form_invalid(form)


class SignOut(LogoutView):
    """Sign out, and let others have the cases that this person holds."""

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """End the session."""
        if isinstance(user := request.user, User):
            people.give_back(user)
            audit.record(user, "signed out", f"person {user.pk}")
        return super().post(request, *args, **kwargs)


@never_cache
@require_http_methods(["GET", "POST"])
def code(request: HttpRequest) -> HttpResponse:
    """Ask for the code. A wrong one counts like a wrong password."""
    waiting = request.session.get(WAITING, {})
    user = _waits(waiting)
    if user is None:
        return redirect("sign-in")
    credentials = {"username": user.get_username()}
    if not AxesProxyHandler.is_allowed(request, credentials):
        return cast(HttpResponse, get_lockout_response(request, credentials=credentials))
    is_wrong = False
    if request.method == "POST":
        device = second_factor.check(user, request.POST.get("code", ""))
        if device is not None:
            del request.session[WAITING]
            user.otp_device = device  # type: ignore[attr-defined]
            login(request, user, backend=settings.AUTHENTICATION_BACKENDS[-1])
            return _entered(user, redirect(waiting["next"]))
        _refused(user.get_username())
        user_login_failed.send(sender=__name__, credentials=credentials, request=request)
        is_wrong = True
    return render(
        request, "sign_in_code.html", {"is_wrong": is_wrong, "title": "Code"}, status=422 if is_wrong else 200
    )


class SetPassword(PasswordResetConfirmView):
    """Where a link from an admin leads: choosing a password, once."""

    template_name = "set_password.html"
    success_url = reverse_lazy("sign-in")

    def form_valid(self, form: SetPasswordForm) -> HttpResponse:  # type: ignore[type-arg]
        """Keep the password."""
        answer = super().form_valid(form)
        audit.record(self.user, "password set", f"person {self.user.pk}")
        messages.success(self.request, "Your password is set. Sign in with it.")
        return answer


def _entered(user: AbstractBaseUser, answer: HttpResponse) -> HttpResponse:
    is_by_code = hasattr(user, "otp_device")
    audit.record(user, "signed in", f"person {user.pk}", by="password and code" if is_by_code else "password")
    return answer


def _refused(name: str) -> None:
    """Note a failed try for somebody: by nobody, since it may have been anybody. Made-up names would fill the log."""
    if (tried := User.objects.filter(username=name).first()) is not None:
        audit.record(None, "sign-in failed", f"person {tried.pk}")


def _waits(waiting: dict[str, Any]) -> User | None:
    user = User.objects.filter(pk=waiting.get("user", 0), is_active=True).first()
    if user is None or waiting["until"] < time.time():
        return None
    return user if constant_time_compare(user.get_session_auth_hash(), waiting["password"]) else None
