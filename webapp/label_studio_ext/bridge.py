"""Sign people in who come from Caseloop: GET /bridge/?bridge=TOKEN with a link that works once, for a minute.

Caseloop makes the token with `signing.dumps(person, key=LABEL_STUDIO_BRIDGE_SECRET, salt=SALT)`, where the person has
email, first_name, last_name, next (a path of Label Studio), back (where Caseloop takes them to their next case; may
lack) and jti (random).
"""

import hashlib
import time
from pathlib import Path

from django.conf import settings
from django.contrib.auth import get_user_model, logout
from django.core import signing
from django.http import HttpResponseForbidden
from django.shortcuts import redirect
from django.utils.http import url_has_allowed_host_and_scheme
from label_studio_ext import back, people
from organizations.models import Organization
from users.functions import login

SALT = "caseloop-bridge"
MAX_AGE_SECONDS = 60
NOT_ACTIVE = "This account is not active. Ask an admin of Caseloop."


class BridgeMiddleware:
    """Answer /bridge/, and pass on every other request of those whom Caseloop lets in."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        people.addresses()  # Before a token is looked at: whoever was shut out is inactive from now on
        if request.path == "/bridge/" and request.method == "GET":
            return enter(request)
        is_page = not request.path.startswith("/static/")
        if is_page and request.user.is_authenticated and not people.is_let_in(request.user):
            people.shut_out(request.user)
            logout(request)
            return HttpResponseForbidden(NOT_ACTIVE)
        return self.get_response(request)


def enter(request):
    """Sign in the person whom the token names, and send them on; refuse what is forged, old, used or inactive."""
    token = request.GET.get("bridge", "")
    try:
        person = signing.loads(token, key=settings.BRIDGE_SECRET, salt=SALT, max_age=MAX_AGE_SECONDS)
    except signing.BadSignature:
        return HttpResponseForbidden("This link is not valid any more. Open it again from Caseloop.")
    if not claim(person["jti"]):
        return HttpResponseForbidden("This link was used before. Open it again from Caseloop.")
    user = find_or_create_user(person)
    if user is None:
        return HttpResponseForbidden(NOT_ACTIVE)
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    if person.get("back"):
        request.session[back.ADDRESS] = person["back"]
    return redirect(safe_path(person["next"], request.get_host()))


def claim(jti):
    """Return whether this use of a link is its first; the file system decides between two at once.

    A file outlives the process: a link that was used stays used when Label Studio starts again within the minute.
    """
    folder = Path(settings.BASE_DATA_DIR) / "bridge"
    folder.mkdir(mode=0o700, exist_ok=True)
    for used in folder.iterdir():
        if used.stat().st_mtime < time.time() - 2 * MAX_AGE_SECONDS:
            used.unlink(missing_ok=True)
    try:
        (folder / hashlib.sha256(jti.encode()).hexdigest()).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def find_or_create_user(person):
    """Return the user with this e-mail address, a member of the one organisation, or None for one who was shut out.

    A new user has no password: the bridge is the only way in.
    """
    email = person["email"].lower()
    names = {name: person[name] for name in ("first_name", "last_name")}
    user, is_new = get_user_model().objects.get_or_create(email=email, defaults={"username": email, **names})
    organization = Organization.objects.get()
    if not user.is_active or not people.is_let_in(user) or organization.has_deleted(user):
        return None
    if is_new:
        user.set_unusable_password()
    organization.add_user(user)
    user.active_organization = organization  # Without one, a new user sees no projects
    user.save()
    return user


def safe_path(path, host):
    """Return `path` if it stays on this host, else the front page."""
    return path if url_has_allowed_host_and_scheme(path, allowed_hosts={host}) else "/"
