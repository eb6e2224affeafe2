"""Showing somebody the names of a case for a while, and the record of it."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.utils import timezone

from webapp.actions import covers
from webapp.models import Case, Cover, Reveal, RevealReason
from webapp.queries import schemas


def reveal(case: Case, person: User, reason: RevealReason, *, note: str = "") -> Reveal:
    """Show a person the names of one case for as long as the policy says, and record who, why and until when."""
    until = timezone.now() + timedelta(minutes=schemas.policy(case.schema).parsed.reveal_minutes)
    return Reveal.objects.create(case=case, person=person, reason=reason, note=note, until=until)


def cover_for(case: Case, person: User) -> Cover | None:
    """Return by what the names of a case are hidden from a person; None where the policy or a reveal shows them."""
    if not schemas.policy(case.schema).parsed.hide_from_reviewers or until(case, person) is not None:
        return None
    return covers.current(case)


def note_for(case: Case, person: User, note: str) -> str:
    """Return what somebody wrote about a case as a person may read it: without the names that are hidden from them."""
    cover = cover_for(case, person) if note else None
    return cover.hide(note, case.stored_text.text) if cover else note


def until(case: Case, person: User) -> datetime | None:
    """Return until when a person sees the names of a case; None if they do not."""
    found = case.reveals.filter(person=person, until__gt=timezone.now()).order_by("-until").first()
    return found.until if found else None
