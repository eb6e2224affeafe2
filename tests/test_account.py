"""One's own password and tokens, and the people whom admins add."""

from __future__ import annotations

import re

from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from webapp.actions import tokens
from webapp.models import AuditEvent, Case, Scope
from webapp.roles import Role

PASSWORDS = ("new_password1", "new_password2")
LONG = "correct-horse-battery"


def enter(name: str, password: str) -> bool:
    return Client().post("/sign-in/", {"username": name, "password": password}).status_code == 302


def link_in(answer: object) -> str:
    found = re.search(r"http://testserver(/account/password/[^<]+)<", answer.content.decode())  # type: ignore[attr-defined]
    assert found
    return found[1]


def follow(link: str, password: str) -> Client:
    client = Client()
    form = client.get(link, follow=True)
    client.post(form.redirect_chain[-1][0] if form.redirect_chain else link, dict.fromkeys(PASSWORDS, password))
    return client


def test_changing_the_own_password_ends_the_other_sessions(signed_in) -> None:
    desk = signed_in(Role.SUPERVISOR, "amina")
    elsewhere = Client()
    elsewhere.force_login(User.objects.get(), backend="django.contrib.auth.backends.ModelBackend")
    new = dict.fromkeys(PASSWORDS, LONG)
    refused = desk.post("/account/", {"old_password": "guessed", **new})
    assert (refused.status_code, enter("amina", LONG)) == (422, False)
    short = desk.post("/account/", {"old_password": "a-long-password", **dict.fromkeys(PASSWORDS, "short")})
    assert "at least 12 characters" in short.content.decode()
    assert desk.post("/account/", {"old_password": "a-long-password", **new}).status_code == 302
    assert (desk.get("/queue/").status_code, elsewhere.get("/queue/").status_code) == (200, 302)
    assert (enter("amina", LONG), enter("amina", "a-long-password")) == (True, False)
    assert AuditEvent.objects.filter(action="password set", actor__username="amina").count() == 1


def test_a_token_of_ones_own_is_shown_once_and_revoked_by_nobody_else(signed_in) -> None:
    desk, other = signed_in(Role.SUPERVISOR, "amina"), signed_in(Role.SUPERVISOR, "otieno")
    page = desk.post("/account/tokens/", {"name": "notebook", "days": 9, "scopes": ["cases:read"]})
    found = re.search(r"<code>(caseloop_[\w-]+)</code>", page.content.decode())
    assert found
    token = tokens.find(found[1])
    assert token is not None
    assert (str(token.user), token.scopes) == ("amina", [Scope.READ])
    assert found[1] not in desk.get("/account/tokens/").content.decode()
    assert other.post(f"/account/tokens/{token.pk}/revoke/").status_code == 404
    assert tokens.find(found[1]) is not None
    desk.post(f"/account/tokens/{token.pk}/revoke/")
    assert tokens.find(found[1]) is None


def test_a_token_opens_no_more_than_the_role(signed_in) -> None:
    desk = signed_in(Role.SUPERVISOR, "amina")
    for wrong in ({"scopes": ["cases:write"]}, {"scopes": []}, {"scopes": ["cases:read"], "days": 400}):
        assert desk.post("/account/tokens/", {"name": "notebook", "days": 9} | wrong).status_code == 422
    assert not User.objects.get().tokens.exists()


def test_a_person_who_is_added_chooses_a_password_by_a_link_that_works_once(signed_in) -> None:
    admin = signed_in(Role.ADMIN)
    added = admin.post("/people/add/", {"username": "amina", "email": "Amina@example.org", "role": "supervisor"})
    assert "no-store" in added.headers["Cache-Control"]
    user = User.objects.get(username="amina")
    assert (user.email, [group.name for group in user.groups.all()]) == ("amina@example.org", ["supervisor"])
    assert not user.has_usable_password()
    link = link_in(added)
    follow(link, "short")
    assert not enter("amina", "short")
    follow(link, LONG)
    assert enter("amina", LONG)
    assert "used already" in Client().get(link).content.decode()
    refused = admin.post("/people/add/", {"username": "amina", "email": "a@example.org", "role": "admin"})
    assert (refused.status_code, "belongs to somebody already" in refused.content.decode()) == (422, True)
    events = AuditEvent.objects.filter(subject=f"person {user.pk}").exclude(action__startswith="sign")
    events = events.values_list("actor__username", "action", "facts")
    assert list(events) == [("admin", "person added", {"role": "supervisor"}), ("amina", "password set", {})]


def test_resetting_a_password_signs_out_and_ends_older_links(signed_in) -> None:
    admin, desk = signed_in(Role.ADMIN), signed_in(Role.SUPERVISOR, "amina")
    user = User.objects.get(username="amina")
    first = link_in(admin.post(f"/people/{user.pk}/password/"))
    assert (desk.get("/queue/").status_code, enter("amina", "a-long-password")) == (302, False)
    second = link_in(admin.post(f"/people/{user.pk}/password/"))
    follow(first, "an-older-link-was-used")
    follow(second, LONG)
    assert (enter("amina", "an-older-link-was-used"), enter("amina", LONG)) == (False, True)
    own = User.objects.get(username="admin").pk
    assert "You change your own password" in admin.post(f"/people/{own}/password/", follow=True).content.decode()


def test_another_role_takes_the_place_of_the_one_so_far(helpline, import_rows, signed_in) -> None:
    admin, desk = signed_in(Role.ADMIN), signed_in(Role.SUPERVISOR, "amina")
    user = User.objects.get(username="amina")
    import_rows(helpline, {"id": "1", "text": "a"})
    Case.objects.update(held_by=user, held_until=timezone.now())
    admin.post(f"/people/{user.pk}/role/", {"role": "owner"})
    assert desk.get("/queue/").status_code == 200
    admin.post(f"/people/{user.pk}/role/", {"role": "annotator"})
    assert (desk.get("/queue/").status_code, desk.get("/label/").status_code) == (403, 200)
    assert Case.objects.get().held_by is None
    event = AuditEvent.objects.get(action="role changed")
    assert event.facts == {"before": ["supervisor"], "role": "annotator"}
    own = User.objects.get(username="admin")
    page = admin.post(f"/people/{own.pk}/role/", {"role": "annotator"}, follow=True).content.decode()
    assert "You cannot change your own role" in page
    assert admin.get("/people/").status_code == 200
