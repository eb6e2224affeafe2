"""The second factor: codes of a phone (TOTP, RFC 6238), and backup codes for when it is lost."""

from __future__ import annotations

import hashlib
import secrets

from django.contrib.auth.models import User
from django.db import transaction
from django_otp import verify_token
from django_otp.models import Device
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.models import TOTPDevice

from webapp.actions import audit
from webapp.errors import NotChangeable

DIGITS = 6  # Of a code of a phone; backup codes are longer
CODES = 10
LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # None that is taken for another
LENGTH = 12  # Of a backup code: 59 bits


def is_on(user: User) -> bool:
    """Whether a person signs in with a code as well."""
    return bool(TOTPDevice.objects.filter(user=user, confirmed=True).exists())


def begun(user: User) -> TOTPDevice | None:
    """Return the phone that a person began to set up and did not confirm."""
    return TOTPDevice.objects.filter(user=user, confirmed=False).first()


def codes_left(user: User) -> int:
    """Return how many backup codes are not used up."""
    return sum(device.token_set.count() for device in StaticDevice.objects.filter(user=user))


@transaction.atomic
def begin(user: User) -> None:
    """Make the secret that a phone shall hold, unless one waits for it or is in use."""
    User.objects.select_for_update().get(pk=user.pk)
    if not TOTPDevice.objects.filter(user=user).exists():
        TOTPDevice.objects.create(user=user, name="phone", confirmed=False)


@transaction.atomic
def confirm(user: User, code: str) -> tuple[Device, list[str]] | None:
    """Begin to ask for codes, once one shows that the phone has the secret; return the device and backup codes."""
    waiting = begun(user)
    device = waiting and verify_token(user, waiting.persistent_id, _plain(code))
    if not device:
        return None
    device.confirmed = True
    device.save()
    audit.record(user, "second factor set up", f"person {user.pk}")
    return device, _new_codes(user)


def check(user: User, code: str) -> Device | None:
    """Return the device that a code is of, and use the code up; None where it is wrong, or comes too soon after one.

    Only devices of the code's kind are asked, for each counts its failures, and waits longer after each.
    """
    plain = _plain(code)
    is_of_phone = len(plain) == DIGITS and plain.isdecimal()
    kind, sent = (TOTPDevice, plain) if is_of_phone else (StaticDevice, _digest(plain))
    for device in kind.objects.filter(user=user, confirmed=True):
        found = verify_token(user, device.persistent_id, sent)
        if found is not None:
            return found
    return None


@transaction.atomic
def renew_codes(user: User) -> list[str]:
    """Make new backup codes in the place of the old ones."""
    audit.record(user, "backup codes made", f"person {user.pk}")
    return _new_codes(user)


@transaction.atomic
def remove(user: User, *, by: User) -> None:
    """Ask a person for no codes any more."""
    for kind in (TOTPDevice, StaticDevice):
        kind.objects.filter(user=user).delete()
    audit.record(by, "second factor removed", f"person {user.pk}")


def reset(user: User, *, by: User) -> None:
    """Remove the second factor of somebody who lost it.

    Raises:
        NotChangeable: they are the one who asks, and shows no code.
    """
    if user == by:
        raise NotChangeable("You cannot reset your own second factor; turn it off with a code, or ask another admin.")
    remove(user, by=by)


def _new_codes(user: User) -> list[str]:
    """Make backup codes; only what is left of their hashes is kept."""
    StaticDevice.objects.filter(user=user).delete()
    device = StaticDevice.objects.create(user=user, name="backup codes")
    codes = ["".join(secrets.choice(LETTERS) for _ in range(LENGTH)) for _ in range(CODES)]
    for code in codes:
        device.token_set.create(token=_digest(code))
    return ["-".join(code[at : at + 4] for at in range(0, LENGTH, 4)) for code in codes]


def _plain(code: str) -> str:
    return "".join(code.replace("-", "").split()).lower()


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode("utf-8", "replace")).hexdigest()[:16]  # As long as the column is
