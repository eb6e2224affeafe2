"""People: users, their roles, and the annotator that stands for each."""

from __future__ import annotations

import secrets
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.auth.models import Group, User
from django.contrib.auth.tokens import default_token_generator
from django.core import signing
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.urls import reverse
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from webapp import tasks
from webapp.actions import access, audit
from webapp.engines.label_studio import ADMIN_EMAIL
from webapp.errors import NotAddable, NotChangeable, NotDeactivatable
from webapp.models import Annotator, AnnotatorKind, Case, LabelStudioTask
from webapp.queries.people import name_of
from webapp.roles import Role


@transaction.atomic
def create(username: str, *, email: str, password: str | None, role: Role) -> User:
    """Create a person with one role; without a password they sign in once they have set one (`password_link`).

    Raises:
        NotAddable: the name or the address, whatever its case, is taken or reserved or not of the right form.
    """
    user = User(username=username, email=email.strip().lower())
    user.set_password(password)
    if user.email == ADMIN_EMAIL:  # Our bridge signs people in by their address
        raise NotAddable(f"{user.email} belongs to the owner of Label Studio; choose another address")
    if not user.email:
        raise NotAddable(f"{username} has no e-mail address; expected one that nobody else has")
    try:
        user.full_clean(validate_unique=False)
        with transaction.atomic():
            user.save()
    except ValidationError as exc:
        faults = (f"{name} is {getattr(user, name)!r}: {' '.join(said)}" for name, said in exc.message_dict.items())
        raise NotAddable("; ".join(faults)) from exc
    except IntegrityError as exc:  # The index on addresses is made by a migration of ours, since the table is Django's
        taken = f"the address {user.email}" if "one_person_by_email" in str(exc) else f"the name {username}"
        raise NotAddable(f"{taken} belongs to somebody already; choose another") from exc
    user.groups.add(Group.objects.get_or_create(name=role.value)[0])
    return user


def annotator_of(user: User) -> Annotator:
    """Return the annotator that stands for a person of ours."""
    defaults = {"kind": AnnotatorKind.PERSON, "name": name_of(user)}
    return Annotator.objects.get_or_create(user=user, defaults=defaults)[0]


def annotator_from_label_studio(number: int, email: str | None) -> Annotator:
    """Return the annotator behind a Label Studio user: the person of ours with that email, where there is one.

    The address decides, for a Label Studio that was set up anew gives the same numbers to others. Where nobody knows
    the address any more, whoever had the number last did it.
    """
    if not email:
        name = f"Label Studio user {number}"
        defaults = {"kind": AnnotatorKind.PERSON, "name": name}
        return Annotator.objects.get_or_create(label_studio_user=number, defaults=defaults)[0]
    user = User.objects.filter(email__iexact=email).first()
    outsider = Annotator.objects.filter(kind=AnnotatorKind.PERSON, user=None, name__iexact=email).first()
    if user is None:
        return number_in_label_studio(
            outsider or Annotator.objects.create(kind=AnnotatorKind.PERSON, name=email), number
        )
    if outsider is not None and not Annotator.objects.filter(user=user).exists():
        outsider.user, outsider.name = user, name_of(user)  # Was there before we knew them
        outsider.save(update_fields=["user", "name"])
    return number_in_label_studio(annotator_of(user), number)


def number_in_label_studio(annotator: Annotator, number: int) -> Annotator:
    """Note which Label Studio user an annotator is, and nobody else."""
    if annotator.label_studio_user != number:
        Annotator.objects.filter(label_studio_user=number).update(label_studio_user=None)
        annotator.label_studio_user = number
        annotator.save(update_fields=["label_studio_user"])
    return annotator


@transaction.atomic
def deactivate(user: User, *, by: User | None) -> None:
    """End a person's access, with us and in the embedded Label Studio, and give back what they held.

    Raises:
        NotDeactivatable: they are the one who asks.
    """
    if user == by:
        raise NotDeactivatable("You cannot deactivate yourself; another admin can.")
    User.objects.filter(pk=user.pk).update(is_active=False)
    give_back(user)
    audit.record(by, "person deactivated", f"person {user.pk}")
    transaction.on_commit(access.tell)


@transaction.atomic
def reactivate(user: User, *, by: User | None) -> None:
    """Let a person in again."""
    User.objects.filter(pk=user.pk).update(is_active=True)
    audit.record(by, "person reactivated", f"person {user.pk}")
    transaction.on_commit(access.tell)


@transaction.atomic
def change_role(user: User, role: Role, *, by: User) -> None:
    """Give a person another role in the place of theirs; what they held goes back.

    Raises:
        NotChangeable: they are the one who asks.
    """
    if user == by:
        raise NotChangeable("You cannot change your own role; another admin can.")
    before = sorted(user.groups.values_list("name", flat=True))
    if before == [role.value]:
        return
    user.groups.set([Group.objects.get_or_create(name=role.value)[0]])
    give_back(user)
    audit.record(by, "role changed", f"person {user.pk}", before=before, role=role.value)
    transaction.on_commit(access.tell)


@transaction.atomic
def add(username: str, *, email: str, role: Role, by: User) -> tuple[User, str]:
    """Create a person without a password; return them, and the path where they set one.

    Raises:
        NotAddable: as `create` says.
    """
    user = create(username, email=email, password=None, role=role)
    audit.record(by, "person added", f"person {user.pk}", role=role.value)
    return user, password_link(user)


@transaction.atomic
def reset_password(user: User, *, by: User) -> str:
    """End a person's password, and with it their sessions; return the path where they set another.

    Raises:
        NotChangeable: they are the one who asks.
    """
    if user == by:
        raise NotChangeable("You change your own password on the page of your account.")
    user.set_unusable_password()
    user.save(update_fields=["password"])
    audit.record(by, "password reset", f"person {user.pk}")
    return password_link(user)


def password_link(user: User) -> str:
    """Return the path where a person sets a password. It works once and for a day, and only the newest one does."""
    number = urlsafe_base64_encode(force_bytes(user.pk))
    return reverse("set-password", args=(number, default_token_generator.make_token(user)))


def give_back(user: User) -> None:
    """Let others have the cases that this person has open, here and in Label Studio; what they typed is kept."""
    Case.objects.filter(held_by=user).update(held_by=None, held_until=None)
    LabelStudioTask.objects.filter(opened_by=user).update(opened_by=None, opened_until=None)


def label_studio_link(user: User, path: str, *, back: str) -> str:
    """Return where a person reaches a path of Label Studio: for the embedded one, a link that signs them in.

    The link works once and for a minute; `label_studio_ext/bridge.py` is the other end of it. On first use a worker
    makes them known there, so that what they do is theirs from the beginning.

    Args:
        path: of Label Studio.
        back: the whole address that takes them to their next case when they are done.
    """
    if annotator_of(user).label_studio_user is None:
        tasks.link_annotator.delay(user.pk)
    address = settings.LABEL_STUDIO_URL.rstrip("/")
    if not settings.LABEL_STUDIO_IS_EMBEDDED:
        return str(address + path)
    access.tell()  # Somebody who was added a moment ago
    person = {
        "email": user.email,
        "first_name": user.first_name or user.get_username(),
        "last_name": user.last_name,
        "next": path,
        "back": back,
        "jti": secrets.token_urlsafe(16),
    }
    token = signing.dumps(person, key=settings.LABEL_STUDIO_BRIDGE_SECRET, salt="caseloop-bridge")
    return f"{address}/bridge/?{urlencode({'bridge': token})}"
