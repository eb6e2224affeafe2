"""What waits for one person, and what they did since midnight."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db.models import Count
from django.utils import timezone
from django.utils.translation import gettext as _

from webapp.models import (
    Acknowledgement,
    Act,
    Annotation,
    Case,
    CaseState,
    Draft,
    Escalation,
    Import,
    ImportState,
    Origin,
    Policy,
    Review,
    Run,
    Schema,
)
from webapp.queries import clock, schemas

SHOWN = 5  # Runs and imports


@dataclass(frozen=True, slots=True)
class Waiting:
    """What somebody has begun and not ended, in cases; `previews` are imports that nobody has confirmed."""

    held: tuple[Case, ...]
    drafts: tuple[Case, ...]
    previews: int


@dataclass(frozen=True, slots=True)
class Glance:
    """How one schema stands, for who runs it."""

    schema: Schema
    policy: Policy
    thresholds: tuple[tuple[str, float], ...]  # By the name of the head


def waiting(user: User) -> Waiting:
    """Return what waits for this person beside the queue."""
    in_review = Case.objects.filter(state=CaseState.REVIEW)
    held = in_review.filter(held_by=user, held_until__gt=timezone.now()).order_by("-rank", "id")
    drafts = Draft.objects.filter(person=user, sent_at=None).exclude(case__state=CaseState.ERASED)
    typed = tuple(draft.case for draft in drafts.select_related("case").order_by("-saved_at")[:SHOWN])
    previews = Import.objects.filter(state=ImportState.PREVIEWED, created_by=user).count()
    return Waiting(tuple(held[:SHOWN]), typed, previews)


def done(user: User) -> list[tuple[str, int]]:
    """Return what this person did today, in words, with how often; what they took back does not count."""
    midnight = clock.midnight()
    acts = Review.objects.filter(person=user, at__gte=midnight, undone_by=None).exclude(act=Act.UNDO)
    counted = dict(acts.values_list("act").annotate(n=Count("pk")))
    answered = Annotation.objects.filter(
        annotator__user=user, origin=Origin.LABEL_STUDIO, created_at__gte=midnight, is_skip=False, is_deletion=False
    )
    found = [(str(act.label), counted.get(act.value, 0)) for act in Act]
    found += [
        (_("labelled in Label Studio"), answered.values("case").distinct().count()),
        (_("escalated"), Escalation.objects.filter(person=user, at__gte=midnight).count()),
        (_("alerts acknowledged"), Acknowledgement.objects.filter(person=user, at__gte=midnight).count()),
        (_("imports"), Import.objects.filter(created_by=user, created_at__gte=midnight).count()),
        (_("trainings asked for"), Run.objects.filter(requested_by=user, requested_at__gte=midnight).count()),
    ]
    return [(words, n) for words, n in found if n]


def glances() -> list[Glance]:
    """Return the policy of every schema."""
    found = []
    for schema in Schema.objects.order_by("-name"):
        policy, heads = schemas.policy(schema), schemas.newest_version(schema).parsed.by_key
        named = tuple((heads[key].name, least) for key, least in policy.parsed.thresholds.items() if key in heads)
        found.append(Glance(schema, policy, named))
    return found


def runs() -> list[Run]:
    """Return the newest trainings."""
    return list(Run.objects.select_related("schema", "version").order_by("-id")[:SHOWN])


def imports() -> list[Import]:
    """Return the newest imports."""
    return list(Import.objects.select_related("schema", "created_by").order_by("-id")[:SHOWN])
