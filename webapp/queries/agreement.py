"""How far people agree: all of them, and two by two.

Counted are people's own answers to cases that two or more answered, each as it stood before a supervisor first decided
the case or sent it back: what follows is not theirs alone.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from django.core.cache import cache
from django.db.models import Count, Min, Q

from ml import agreement
from ml.schema import Head, Kind
from ml.types import Labels
from webapp.models import Act, Annotation, AnnotatorKind, Origin, Review, Schema
from webapp.queries import schemas

LEAST = 20  # Cases; an interval of fewer would span nearly everything
MOST = 2000  # The newest cases that are measured
MOST_PAIRS = 30
SEED = 0  # The same answers give the same intervals
KEPT_SECONDS = 3600

OWN = Q(origin=Origin.LABEL_STUDIO) | Q(origin=Origin.IMPORT, annotator__kind=AnnotatorKind.PERSON)
TOLD_TO_ANNOTATORS = (Act.ACCEPT, Act.FIX, Act.SEND_BACK)
WORDS = {
    "alpha": "Krippendorff's alpha",
    "kappa": "Cohen's kappa",
    "exact_f1": "F1 of spans that are the same",
    "partial_f1": "F1 of spans that overlap",
}


@dataclass(frozen=True, slots=True)
class Figure:
    """One measure; `is_few` where too few cases are behind it to show a value."""

    words: str
    n: int
    value: float | None
    interval: tuple[float, float] | None

    @property
    def is_few(self) -> bool:
        """Whether so few cases say nothing."""
        return self.n < LEAST


@dataclass(frozen=True, slots=True)
class PairFigures:
    """How far two people agree on a head."""

    names: tuple[str, str]
    figures: tuple[Figure, ...]


@dataclass(frozen=True, slots=True)
class HeadFigures:
    """How far people agree on a head: all of them, label by label, and two by two."""

    head: Head
    overall: tuple[Figure, ...]
    parts: tuple[Figure, ...]
    pairs: tuple[PairFigures, ...]
    few_pairs: int  # That share too few cases


@dataclass(frozen=True, slots=True)
class Own:
    """What each person said of each case by themselves, and what they are called."""

    cases: tuple[Mapping[int, Labels], ...]
    names: Mapping[int, str]


def figures(schema: Schema) -> tuple[HeadFigures, ...]:
    """Return how far people agree on the heads that two or more answered.

    It takes a second or two, so that it is kept for as long as nobody answers.
    """
    own, version = own_answers(schema), schemas.newest_version(schema)
    answered = json.dumps([version.pk, own.cases, own.names], sort_keys=True)
    key = f"caseloop:agreement:{hashlib.sha256(answered.encode()).hexdigest()}"
    found: tuple[HeadFigures, ...] | None = cache.get(key)
    if found is None:
        found = _measure(own, version.parsed.heads)
        cache.set(key, found, KEPT_SECONDS)
    return found


def own_answers(schema: Schema) -> Own:
    """Return people's own answers to the newest cases that two or more of them answered."""
    own = Annotation.objects.filter(OWN, case__schema=schema)
    by_case = own.values("case").annotate(people=Count("annotator", distinct=True)).filter(people__gt=1)
    shared = list(by_case.order_by("-case").values_list("case", flat=True)[:MOST])
    reviews = Review.objects.filter(case__in=shared, act__in=TOLD_TO_ANNOTATORS)
    first = dict(reviews.values_list("case").annotate(known=Min("known")))
    rows = own.filter(case__in=shared).select_related("annotator").order_by("id")
    said: dict[int, list[Annotation]] = defaultdict(list)
    for row in rows.only("case", "annotator__name", "supersedes", "is_skip", "is_deletion", "answers"):
        if row.pk <= first.get(row.case_id, row.pk):
            said[row.case_id].append(row)
    cases = tuple(found for case in shared if len(found := _last_of_each(said[case])) > 1)
    return Own(cases, {row.annotator_id: row.annotator.name for case in said.values() for row in case})


def _last_of_each(rows: Iterable[Annotation]) -> dict[int, Labels]:
    rows = list(rows)
    superseded = {row.supersedes_id for row in rows}
    return {
        row.annotator_id: row.answers
        for row in rows
        if row.pk not in superseded and not row.is_skip and not row.is_deletion
    }


def _measure(own: Own, heads: Iterable[Head]) -> tuple[HeadFigures, ...]:
    found = []
    for head in heads:
        answered = [
            {who: said[head.key] for who, said in case.items() if head.key in said and _is_known(head, said[head.key])}
            for case in own.cases
        ]
        if shared := [case for case in answered if len(case) > 1]:
            found.append(_of_head(head, shared, own.names))
    return tuple(found)


def _of_head(head: Head, cases: list[dict[int, Any]], names: Mapping[int, str]) -> HeadFigures:
    rng = np.random.default_rng(SEED)
    by_name = agreement.of_head(head, [{str(who): said for who, said in case.items()} for case in cases], rng)
    together: dict[tuple[int, int], list[tuple[Any, Any]]] = defaultdict(list)
    for case in cases:
        for one, other in combinations(sorted(case), 2):
            together[one, other].append((case[one], case[other]))
    enough = [pair for pair in together if len(together[pair]) >= LEAST]
    shown = sorted(enough, key=lambda pair: -len(together[pair]))[:MOST_PAIRS]
    return HeadFigures(
        head=head,
        overall=tuple(_figure(WORDS[name], one) for name, one in by_name.items() if name in WORDS),
        parts=tuple(_figure(_part(head, name), one) for name, one in by_name.items() if name not in WORDS),
        pairs=tuple(
            PairFigures(
                (names[pair[0]], names[pair[1]]),
                tuple(_figure(WORDS[name], one) for name, one in agreement.of_pair(head, together[pair], rng).items()),
            )
            for pair in shown
        ),
        few_pairs=len(together) - len(enough),
    )


def _is_known(head: Head, answer: Any) -> bool:
    """Whether a choice is still a label of the schema; what it was renamed to or split into is not known."""
    return head.kind != Kind.CHOICE or answer in head.by_key


def _figure(words: str, found: agreement.Agreement) -> Figure:
    return Figure(words, found.n, found.value, found.interval)


def _part(head: Head, name: str) -> str:
    """Return what a part of a head is called: of "alpha KEY" the label, of "alpha GROUP.CRITERION" the criterion."""
    key = name.removeprefix("alpha ")
    criteria = {
        f"{group.key}.{one.key}": f"{group.name}: {one.name}" for group in head.groups for one in group.criteria
    }
    return criteria.get(key) or head.name_of(key)
