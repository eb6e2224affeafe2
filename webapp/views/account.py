"""One's own account: password, second factor and tokens."""

from __future__ import annotations

import base64
from io import BytesIO

import django_otp
import qrcode
from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.forms import PasswordChangeForm
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django_otp.plugins.otp_totp.models import TOTPDevice
from qrcode.image.svg import SvgPathFillImage

from webapp.actions import audit, tokens
from webapp.actions import second_factor as factor
from webapp.errors import CaseloopError
from webapp.forms import TokenForm
from webapp.models import Token
from webapp.roles import EVERYONE, STAFF, allow, needs_second_factor, person_of, roles_of

NO_CODE = gettext_lazy("This is not the code of now, or it was used already. Wait for the next one on your phone.")


@require_http_methods(["GET", "POST"])
@allow(*EVERYONE)
def account(request: HttpRequest) -> HttpResponse:
    """Show what belongs to the person, and change their password."""
    user = person_of(request)
    form = PasswordChangeForm(user, request.POST or None)
    if request.method == "POST" and form.is_valid():
        form.save()
        update_session_auth_hash(request, user)  # Ends their other sessions, and not this one
        audit.record(user, "password set", f"person {user.pk}")
        messages.success(request, _("Your password is changed. You are signed out everywhere else."))
        return redirect("account")
    context = {
        "form": form,
        "is_on": factor.is_on(user),
        "has_tokens": bool(roles_of(user) & set(STAFF)),
        "title": _("Your account"),
    }
    return render(request, "account.html", context, status=422 if form.errors else 200)


@require_GET
@never_cache
@allow(*EVERYONE, is_for_set_up=True)
def second_factor(request: HttpRequest) -> HttpResponse:
    """Show whether codes are asked for, and what a phone reads to make them."""
    return _second_factor(request)


@require_POST
@allow(*EVERYONE, is_for_set_up=True)
def begin_second_factor(request: HttpRequest) -> HttpResponse:
    """Make the secret for a phone."""
    factor.begin(person_of(request))
    return redirect("two-factor")


@require_POST
@never_cache
@allow(*EVERYONE, is_for_set_up=True)
def confirm_second_factor(request: HttpRequest) -> HttpResponse:
    """Turn codes on, and show the backup codes this once."""
    found = factor.confirm(person_of(request), request.POST.get("code", ""))
    if found is None:
        messages.error(request, str(NO_CODE))
        return redirect("two-factor")
    device, codes = found
    django_otp.login(request, device)
    return _second_factor(request, codes)


@require_POST
@never_cache
@allow(*EVERYONE)
def backup_codes(request: HttpRequest) -> HttpResponse:
    """Make new backup codes, and show them this once."""
    user = person_of(request)
    if factor.check(user, request.POST.get("code", "")) is None:
        messages.error(request, str(NO_CODE))
        return redirect("two-factor")
    return _second_factor(request, factor.renew_codes(user))


@require_POST
@allow(*EVERYONE)
def remove_second_factor(request: HttpRequest) -> HttpResponse:
    """Turn codes off."""
    user = person_of(request)
    if needs_second_factor(user):
        messages.error(request, _("Your role must sign in with a code. Ask another admin to reset it for a new phone."))
    elif factor.check(user, request.POST.get("code", "")) is None:
        messages.error(request, str(NO_CODE))
    else:
        factor.remove(user, by=user)
        messages.success(request, _("You sign in without a code from now on."))
    return redirect("two-factor")


@require_http_methods(["GET", "POST"])
@never_cache
@allow(*STAFF)
def token_list(request: HttpRequest) -> HttpResponse:
    """List one's own tokens, and make another, whose secret is shown this once."""
    user = person_of(request)
    form = TokenForm(tokens.scopes_of(user), request.POST or None)
    secret = ""
    if request.method == "POST" and form.is_valid():
        chosen = form.cleaned_data
        try:
            secret = tokens.issue(chosen["name"], chosen["scopes"], days=chosen["days"], by=user, user=user)
        except CaseloopError as exc:
            form.add_error(None, str(exc))
    context = {
        "form": form,
        "secret": secret,
        "tokens": Token.objects.filter(user=user).order_by("-id"),
        "title": _("Your tokens"),
    }
    return render(request, "tokens.html", context, status=422 if form.errors else 200)


@require_POST
@allow(*STAFF)
def revoke_token(request: HttpRequest, pk: int) -> HttpResponse:
    """End one of one's own tokens."""
    user = person_of(request)
    token = Token.objects.filter(user=user, pk=pk).first()
    if token is None:
        raise Http404("no such token")
    tokens.revoke(token, by=user)
    return redirect("tokens")


def _second_factor(request: HttpRequest, codes: list[str] | None = None) -> HttpResponse:
    user = person_of(request)
    waiting = factor.begun(user)
    context = {
        "is_on": factor.is_on(user),
        "is_needed": needs_second_factor(user),
        "left": factor.codes_left(user),
        "codes": codes,
        "image": _image(waiting.config_url) if waiting else "",
        "secret": _secret(waiting) if waiting else "",
        "title": _("Sign in with a code"),
    }
    return render(request, "two_factor.html", context)


def _image(address: str) -> str:
    """Return an address drawn as a QR code, as the address of an SVG that holds itself."""
    drawn = BytesIO()
    qrcode.make(address, image_factory=SvgPathFillImage, border=2).save(drawn)
    return f"data:image/svg+xml;base64,{base64.b64encode(drawn.getvalue()).decode()}"


def _secret(device: TOTPDevice) -> str:
    """Return the secret as it is typed where no camera is."""
    plain = base64.b32encode(device.bin_key).decode()
    return " ".join(plain[at : at + 4] for at in range(0, len(plain), 4))
