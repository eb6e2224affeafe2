"""Signing in with a code beside the password."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from django_otp.oath import TOTP
from django_otp.plugins.otp_static.models import StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

from webapp.actions import second_factor
from webapp.models import AuditEvent
from webapp.roles import Role

PASSWORD = "a-long-password"


@pytest.fixture(autouse=True)
def _no_waiting_after_wrong_codes(settings) -> None:
    settings.OTP_TOTP_THROTTLE_FACTOR = settings.OTP_STATIC_THROTTLE_FACTOR = 0


@pytest.fixture
def amina(person) -> User:
    return person(Role.SUPERVISOR, "amina")


@pytest.fixture
def codes(amina) -> list[str]:
    """The backup codes of Amina, who signs in with a phone."""
    second_factor.begin(amina)
    _, found = second_factor.confirm(amina, code_of(amina)) or (None, [])
    TOTPDevice.objects.update(last_t=-1)  # The code of now was used up just so
    return found


def code_of(user: User, *, wrong: bool = False) -> str:
    device = TOTPDevice.objects.get(user=user)
    right = TOTP(device.bin_key, device.step, device.t0, device.digits, device.drift).token()
    return f"{(right + 500_000) % 1_000_000 if wrong else right:06d}"


def password(client: Client, word: str = PASSWORD) -> str:
    """Give a password, and return where that leads."""
    answer = client.post("/sign-in/?next=/alerts/", {"username": "amina", "password": word})
    return answer.headers.get("Location", str(answer.status_code))


def is_in(client: Client) -> bool:
    return client.get("/queue/").status_code == 200


def test_whoever_has_no_phone_signs_in_with_the_password_alone(amina) -> None:
    client = Client()
    assert (password(client), is_in(client)) == ("/alerts/", True)


def test_the_password_opens_nothing_before_the_code(amina, codes) -> None:
    client = Client()
    assert (password(client), is_in(client)) == ("/sign-in/code/", False)
    wrong = client.post("/sign-in/code/", {"code": code_of(amina, wrong=True)})
    assert (wrong.status_code, is_in(client)) == (422, False)
    right = client.post("/sign-in/code/", {"code": f" {code_of(amina)} "})
    assert (right.headers["Location"], is_in(client)) == ("/alerts/", True)


def test_a_code_opens_once(amina, codes) -> None:
    used = code_of(amina)
    for client, opens in ((Client(), True), (Client(), False)):
        password(client)
        client.post("/sign-in/code/", {"code": used})
        assert is_in(client) == opens


def test_a_backup_code_opens_once_and_is_kept_nowhere(amina, codes) -> None:
    assert len(set(codes)) == 10
    assert not {code.replace("-", "") for code in codes} & set(StaticToken.objects.values_list("token", flat=True))
    for client, opens in ((Client(), True), (Client(), False)):
        password(client)
        client.post("/sign-in/code/", {"code": codes[0].upper()})
        assert is_in(client) == opens
    assert second_factor.codes_left(amina) == 9


def test_codes_of_the_phone_do_not_make_backup_codes_wait(amina, codes, settings) -> None:
    settings.OTP_STATIC_THROTTLE_FACTOR = 1
    for _ in range(4):
        assert second_factor.check(amina, code_of(amina, wrong=True)) is None
    assert second_factor.check(amina, codes[0]) is not None


def test_wrong_codes_lock_like_wrong_passwords(amina, codes, settings) -> None:
    client = Client()
    password(client)
    given = [client.post("/sign-in/code/", {"code": code_of(amina, wrong=True)}).status_code for _ in range(8)]
    assert given == [422] * 7 + [429]
    assert client.post("/sign-in/code/", {"code": code_of(amina)}).status_code == 429
    assert not is_in(client)
    assert password(Client()) == "429", "neither does the password open a locked name"


def test_the_step_between_password_and_code_ends(amina, codes, monkeypatch) -> None:
    client = Client()
    password(client)
    amina.set_password("another-long-password")
    amina.save()
    assert client.post("/sign-in/code/", {"code": code_of(amina)}).headers["Location"] == "/sign-in/"
    late = Client()
    assert password(late, "another-long-password") == "/sign-in/code/"
    later = (timezone.now() + timedelta(minutes=6)).timestamp()
    monkeypatch.setattr("webapp.views.signing_in.time.time", lambda: later)
    assert late.post("/sign-in/code/", {"code": code_of(amina)}).headers["Location"] == "/sign-in/"
    assert Client().get("/sign-in/code/").headers["Location"] == "/sign-in/"


# --- Setting it up ---------------------------------------------------------------------------------------------------


def test_a_person_sets_it_up_and_sees_the_backup_codes_once(signed_in) -> None:
    client = signed_in(Role.ANNOTATOR, "amina")
    user = User.objects.get()
    client.post("/account/two-factor/begin/")
    page = client.get("/account/two-factor/").content.decode()
    assert re.search(r'<img class="qr" src="data:image/svg\+xml;base64,[\w+/=]{500,}"', page)
    assert not second_factor.is_on(user), "a phone that was not tried locks nobody out"
    client.post("/account/two-factor/confirm/", {"code": code_of(user, wrong=True)})
    assert not second_factor.is_on(user)
    shown = client.post("/account/two-factor/confirm/", {"code": code_of(user)})
    assert "no-store" in shown.headers["Cache-Control"]
    codes = re.findall(r"<code>(\w{4}-\w{4}-\w{4})</code>", shown.content.decode())
    again = client.get("/account/two-factor/").content.decode()
    assert (len(codes), second_factor.is_on(user)) == (10, True)
    assert not [code for code in codes if code in again]
    assert "data:image" not in again, "nor the secret"
    TOTPDevice.objects.update(last_t=-1)
    client.post("/account/two-factor/codes/", {"code": code_of(user, wrong=True)})
    client.post("/account/two-factor/codes/", {"code": code_of(user)})
    assert second_factor.check(user, codes[0]) is None, "new codes end the old ones"
    TOTPDevice.objects.update(last_t=-1)
    client.post("/account/two-factor/remove/", {"code": "000000"})
    assert second_factor.is_on(user)
    TOTPDevice.objects.update(last_t=-1)
    client.post("/account/two-factor/remove/", {"code": code_of(user)})
    assert not second_factor.is_on(user)
    acts = AuditEvent.objects.filter(actor=user).order_by("id").values_list("action", flat=True)
    assert list(acts) == ["second factor set up", "backup codes made", "second factor removed"]


def test_where_it_is_required_staff_reach_nothing_else_before(helpline, signed_in, settings) -> None:
    settings.REQUIRE_TWO_FACTOR = True
    desk = signed_in(Role.SUPERVISOR, "amina")
    user = User.objects.get(username="amina")
    assert desk.get("/queue/").headers["Location"] == "/account/two-factor/"
    assert desk.get("/alerts/bar/", headers={"HX-Request": "true"}).status_code == 401
    assert desk.post("/account/tokens/", {"name": "way round", "days": 9}).headers["Location"] == "/account/two-factor/"
    assert "Set it up now" in desk.get("/account/two-factor/").content.decode()
    desk.post("/account/two-factor/begin/")
    desk.post("/account/two-factor/confirm/", {"code": code_of(user)})
    assert is_in(desk)
    TOTPDevice.objects.update(last_t=-1)
    desk.post("/account/two-factor/remove/", {"code": code_of(user)})
    assert second_factor.is_on(user)
    assert signed_in(Role.ANNOTATOR).get("/label/").status_code == 200


def test_an_admin_resets_a_lost_phone_but_not_their_own(amina, codes, signed_in) -> None:
    admin = signed_in(Role.ADMIN)
    assert f"/people/{amina.pk}/two-factor/" in admin.get("/people/").content.decode()
    admin.post(f"/people/{amina.pk}/two-factor/")
    client = Client()
    assert (password(client), is_in(client)) == ("/alerts/", True)
    event = AuditEvent.objects.get(action="second factor removed")
    assert (str(event.actor), event.subject) == ("admin", f"person {amina.pk}")
    own = admin.post(f"/people/{User.objects.get(username='admin').pk}/two-factor/", follow=True)
    assert "You cannot reset your own second factor" in own.content.decode()
