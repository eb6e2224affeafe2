"""Searching the texts of cases."""

from __future__ import annotations

import re

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.contrib.postgres.search import SearchQuery
from django.db.models import Q, QuerySet
from django.utils import timezone

from webapp.models import Case, Reveal, Schema, Search
from webapp.queries import schemas

CONFIGURATION = "simple"  # As the migration `search_texts` has it
TERM = re.compile(r'(-?)(?:"([^"]*)"|(\S+))')
TYPED = str.maketrans({"“": '"', "”": '"', "„": '"'})  # Phones make these of quotation marks


def words(search: int | None, user: AbstractBaseUser | AnonymousUser) -> str | None:
    """Return what was searched for; None where it is not kept any more, or is another person's and in no saved view."""
    found = Search.objects.filter(Q(owner=user.pk) | Q(views__isnull=False), pk=search).first() if search else None
    return found.words if found else None


def within(cases: QuerySet[Case], text: str, user: AbstractBaseUser | AnonymousUser | None) -> QuerySet[Case]:
    """Return those of some cases whose texts have the words; none without a word. The id of a case finds that case.

    A case whose names are hidden from the person is not searched: that it is found would tell them that a name is in
    it, and so would that it is not, where the name is excluded. Without a person, a service asks, and all are.
    """
    found = query(text)
    if found is None:
        return cases.none()
    if user is not None and (named := cases.filter(external_id=text.strip())).exists():
        return named
    if user is not None and (hiding := [row.pk for row in Schema.objects.all() if _hides(row)]):
        shown = Reveal.objects.filter(person=user.pk, until__gt=timezone.now()).values("case")
        cases = cases.filter(~Q(schema__in=hiding) | Q(pk__in=shown))
    return cases.filter(words__vector=found)


def leaves_out() -> bool:
    """Whether there are cases whose names are hidden from people."""
    return any(_hides(row) for row in Schema.objects.all())


def _hides(schema: Schema) -> bool:
    policy = schemas.policy(schema).parsed
    return policy.hide_from_reviewers and bool(policy.hidden_labels)


def query(text: str) -> SearchQuery | None:
    """Return the query for what a person typed; None if there is no word in it.

    Every word must occur, if only as the beginning of one: "beat" finds "beaten", and no stemmer would in all of our
    languages. What stands in quotation marks must occur as it is; what follows a minus must not.
    """
    terms = []
    for minus, phrase, word in TERM.findall(text.translate(TYPED)):
        bare = re.sub(r"['\\\x00-\x1f]", " ", phrase or word)
        if re.search(r"\w", bare):
            terms.append(f"{'!' if minus else ''}'{bare}'{'' if phrase else ':*'}")
    return SearchQuery(" & ".join(terms), config=CONFIGURATION, search_type="raw") if terms else None
