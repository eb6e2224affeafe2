"""What commands are given by name: a schema, and the admin on whose word something is done."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.core.management.base import CommandError

from webapp.models import Schema
from webapp.roles import Role, roles_of


def schema(name: str) -> Schema:
    """Return a schema.

    Raises:
        CommandError: there is none of that name.
    """
    found = Schema.objects.filter(name=name).first()
    if found is None:
        known = ", ".join(Schema.objects.values_list("name", flat=True)) or "none yet; import cases first"
        raise CommandError(f"schema is {name!r}; expected one of {known}")
    return found


def admin(name: str) -> User:
    """Return an admin who is active.

    Raises:
        CommandError: nobody of that name is one.
    """
    found = User.objects.filter(username=name, is_active=True).first()
    if found is None or Role.ADMIN not in roles_of(found):
        raise CommandError(f"{name} is no admin; expected the name of one")
    return found
