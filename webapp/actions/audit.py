"""Writing the audit log."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User

from webapp.models import AuditEvent


def record(actor: AbstractBaseUser | AnonymousUser | None, action: str, subject: object, **facts: Any) -> None:
    """Add one line; `facts` are ids and numbers, never texts."""
    person = actor if isinstance(actor, User) else None
    AuditEvent.objects.create(actor=person, action=action, subject=str(subject), facts=facts)
