"""The record of who was shown which case."""

from __future__ import annotations

from django.contrib.auth.models import User

from webapp.models import Case, Sighting


def record(case: Case, person: User) -> None:
    """Add that a person is shown the text of a case, each time that they are."""
    Sighting.objects.create(case=case, person=person)
