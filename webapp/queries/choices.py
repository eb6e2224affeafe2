"""What there is to filter the queue by."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from ml.policy import FlagKind
from ml.schema import Kind
from webapp.queries import schemas, wording
from webapp.queries.filters import ME, NOBODY
from webapp.queries.people import name_of
from webapp.roles import Role

Choices = list[tuple[str, str]]

MOST_SOURCES = 50
# Hops from each source to the next in the index on (source, external_id), however many cases a source has
SOURCES = """
    with recursive hop(source, n) as (
        (select source, 1 from webapp_case order by source limit 1)
        union all
        select (select source from webapp_case where source > hop.source order by source limit 1), n + 1
        from hop where hop.source is not null and n < %s
    )
    select source from hop where source is not null
"""


def sources() -> list[str]:
    """Return where cases came from, by name."""
    with connection.cursor() as cursor:
        cursor.execute(SOURCES, [MOST_SOURCES])
        return [source for (source,) in cursor.fetchall()]


def flags() -> Choices:
    """Return the kinds of flags."""
    return [(kind.value, str(wording.KINDS[kind])) for kind in FlagKind]


def heads() -> Choices:
    """Return the heads of all schemas."""
    return list({head.key: (head.key, head.name) for head in schemas.heads()}.values())


def labels() -> list[tuple[str, Choices]]:
    """Return the labels that a whole case may have, head by head."""
    return [
        (head.name, [(f"{head.key}:{label.key}", label.name) for label in head.labels])
        for head in schemas.heads()
        if head.kind in (Kind.CHOICE, Kind.CHOICES)
    ]


def holders() -> Choices:
    """Return who may hold cases, and who does."""
    holds = Q(groups__name=Role.SUPERVISOR) | Q(held_cases__held_until__gt=timezone.now())
    people = User.objects.filter(holds, is_active=True).distinct().order_by("username")
    named = [(str(user.pk), name_of(user)) for user in people]
    return [(ME, _("me")), (NOBODY, _("nobody")), *named]
