"""Who may do what here."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings
from django.contrib.auth.models import User
from django_otp.plugins.otp_totp.models import TOTPDevice

from webapp.roles import Role, roles_of


@dataclass(frozen=True, slots=True)
class Person:
    """One person of ours."""

    user: User
    roles: tuple[str, ...]
    is_linked: bool  # To a user of Label Studio
    has_second_factor: bool


def name_of(user: User) -> str:
    """Return what a person is called."""
    return user.get_full_name() or user.get_username()


def everybody() -> list[Person]:
    """Return all people by name, those who are deactivated last."""
    users = User.objects.select_related("annotator").prefetch_related("groups").order_by("-is_active", "username")
    with_codes = set(TOTPDevice.objects.filter(confirmed=True).values_list("user_id", flat=True))
    return [
        Person(user, tuple(role for role in Role if role in roles_of(user)), _is_linked(user), user.pk in with_codes)
        for user in users
    ]


def active_annotators() -> int | None:
    """Return how many may answer in the embedded Label Studio; None for another one, where we cannot say who may."""
    if not settings.LABEL_STUDIO_IS_EMBEDDED:
        return None
    return User.objects.filter(is_active=True, groups__name=Role.ANNOTATOR.value).count()


def _is_linked(user: User) -> bool:
    annotator = getattr(user, "annotator", None)
    return annotator is not None and annotator.label_studio_user is not None
