"""People: users, their roles, and the annotator that stands for each."""

from __future__ import annotations

import secrets
from urllib.parse import urlencode

from django.conf import settings
from django.contrib.auth.models import Group, User
from django.core import signing
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from webapp.engines.label_studio import ADMIN_EMAIL
from webapp.errors import NotAddable
from webapp.models import Annotator, AnnotatorKind
from webapp.roles import Role


@transaction.atomic
def create(username: str, *, email: str, password: str, role: Role) -> User:
    """Create a person with one role.

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
    name = user.get_full_name() or user.get_username()
    return Annotator.objects.get_or_create(user=user, defaults={"kind": AnnotatorKind.PERSON, "name": name})[0]


def annotator_from_label_studio(label_studio_user: int, email: str | None) -> Annotator:
    """Return the annotator behind a Label Studio user: the person of ours with that email, where there is one."""
    known = Annotator.objects.filter(label_studio_user=label_studio_user).first()
    if known is not None:
        return known
    user = User.objects.filter(email__iexact=email).first() if email else None
    if user is None:
        name = email or f"Label Studio user {label_studio_user}"
        return Annotator.objects.create(kind=AnnotatorKind.PERSON, name=name, label_studio_user=label_studio_user)
    annotator = annotator_of(user)
    annotator.label_studio_user = label_studio_user
    annotator.save(update_fields=["label_studio_user"])
    return annotator


def label_studio_link(user: User, path: str) -> str:
    """Return where a person reaches a path of Label Studio: for the embedded one, a link that signs them in.

    The link works once and for a minute; `label_studio_ext/bridge.py` is the other end of it.
    """
    address = settings.LABEL_STUDIO_URL.rstrip("/")
    if not settings.LABEL_STUDIO_IS_EMBEDDED:
        return str(address + path)
    person = {
        "email": user.email,
        "first_name": user.first_name or user.get_username(),
        "last_name": user.last_name,
        "next": path,
        "jti": secrets.token_urlsafe(16),
    }
    token = signing.dumps(person, key=settings.LABEL_STUDIO_BRIDGE_SECRET, salt="caseloop-bridge")
    return f"{address}/bridge/?{urlencode({'bridge': token})}"
