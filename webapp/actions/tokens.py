"""Tokens: making one, taking it back, and letting a call in by one."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from datetime import timedelta

from django.conf import settings
from django.contrib.auth.models import User
from django.core.cache import cache
from django.db.models import Q
from django.utils import timezone

from webapp.actions import audit
from webapp.errors import NotIssuable
from webapp.models import Scope, Token
from webapp.roles import Role, roles_of

PREFIX = "caseloop_"  # By which a scanner of repositories knows one
MINUTE = timedelta(minutes=1)
# What a person's own token may open; that of a service, whatever it was made for
OF_PEOPLE = {
    Role.ANNOTATOR: set[Scope](),
    Role.SUPERVISOR: {Scope.READ, Scope.PREDICT},
    Role.ADMIN: {Scope.READ, Scope.WRITE, Scope.PREDICT, Scope.METRICS},
}


def issue(name: str, scopes: Iterable[Scope], *, days: int, by: User | None, user: User | None = None) -> str:
    """Make a token and return its secret, which nobody can read again.

    Args:
        name: of the service, and of the source of its cases; of a person's token, what it is for.
        user: whose token it is; None for a service.

    Raises:
        NotIssuable: it has no name, opens nothing or more than the person may, or never ends.
    """
    wanted = sorted(set(scopes))
    if not 0 < len(name) <= 100:
        raise NotIssuable(f"the name has {len(name)} characters; expected 1 to 100")
    if not 0 < days <= 366:
        raise NotIssuable(f"the token would end in {days} days; expected 1 to 366")
    if not wanted:
        raise NotIssuable(f"the token would open nothing; expected some of {', '.join(Scope)}")
    if user is not None and (beyond := set(wanted) - scopes_of(user)):
        raise NotIssuable(f"the role of {user} does not allow {', '.join(sorted(beyond))}")
    secret = PREFIX + secrets.token_urlsafe(32)
    expires_at = timezone.now() + timedelta(days=days)
    token = Token.objects.create(
        name=name, user=user, digest=_digest(secret), scopes=wanted, created_by=by, expires_at=expires_at
    )
    audit.record(by, "token made", str(token), scopes=wanted, user=user.pk if user else None, days=days)
    return secret


def revoke(token: Token, *, by: User | None) -> None:
    """End a token now; a second time changes nothing."""
    if Token.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now()):
        audit.record(by, "token revoked", str(token))


def find(secret: str) -> Token | None:
    """Return the good token with that secret. What is looked up is its hash, so that time tells nothing of it."""
    found = Token.objects.select_related("user").filter(digest=_digest(secret)).first()
    if found is None or not found.is_good:
        return None
    now = timezone.now()
    stale = Q(last_used_at=None) | Q(last_used_at__lt=now - MINUTE)
    if found.last_used_at is None or found.last_used_at < now - MINUTE:
        Token.objects.filter(stale, pk=found.pk).update(last_used_at=now)
    return found


def opens(token: Token, scope: Scope) -> bool:
    """Whether a token was made for this, and its person still has a role that allows it."""
    return scope in token.scopes and (token.user is None or scope in scopes_of(token.user))


def wait_seconds(caller: str) -> int:
    """Count a call; return how long the caller must wait before another is answered, 0 if this one is."""
    now = int(timezone.now().timestamp())
    key = f"api-calls-{caller}-{now // 60}"
    cache.add(key, 0, timeout=120)
    return 60 - now % 60 if cache.incr(key) > settings.API_REQUESTS_PER_MINUTE else 0


def scopes_of(user: User) -> set[Scope]:
    """Return what a token of a person may open."""
    return {scope for role in roles_of(user) for scope in OF_PEOPLE[role]}


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
