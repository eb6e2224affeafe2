"""What annotators were asked for by a supervisor who sent a case back, and have not answered yet."""

from __future__ import annotations

from collections.abc import Collection

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

from webapp.models import Act, Annotation, Annotator, AnnotatorKind, Case, CaseState, Origin, Review
from webapp.roles import Role


def waiting(cases: Collection[int]) -> dict[int, Review]:
    """Return by case id what is asked of annotators: the newest act on a case that stands, if it sent the case back.

    What was asked of one annotator ends with their answer, or when they skip the case; what was asked of whoever comes,
    with an answer of anybody.
    """
    standing = Review.objects.filter(case__in=cases, undone_by=None).exclude(act=Act.UNDO)
    newest = standing.order_by("case_id", "-id").distinct("case_id")
    asked = {review.case_id: review for review in newest.select_related("to__user", "person", "case__schema")}
    asked = {case: review for case, review in asked.items() if review.act == Act.SEND_BACK}
    answers = Annotation.objects.filter(case__in=asked, origin=Origin.LABEL_STUDIO, is_deletion=False).order_by("id")
    for case, annotator, pk, is_skip in answers.values_list("case", "annotator", "pk", "is_skip"):
        review = asked.get(case)
        if review is None or pk <= review.known:
            continue
        one = asked_one(review)
        if annotator == one.pk if one else not is_skip:
            del asked[case]
    return asked


def asked_one(review: Review) -> Annotator | None:
    """Return the annotator who is asked; None means whoever comes, also in the place of one who cannot come."""
    one = review.to
    return one if one and (one.user is None or one.user.is_active) else None


def of(user: AbstractBaseUser | AnonymousUser) -> list[Review]:
    """Return what is asked of one annotator, the oldest first."""
    found = [review for review, one in _with_annotators() if one is None or one.user_id == user.pk]
    return sorted(found, key=lambda review: review.pk)


def by_name(user: AbstractBaseUser | AnonymousUser) -> tuple[set[int], set[int]]:
    """Return the cases that are asked of this annotator and nobody else, and those that are asked of another."""
    mine: set[int] = set()
    others: set[int] = set()
    for review, one in _with_annotators():
        if one is not None:
            (mine if one.user_id == user.pk else others).add(review.case_id)
    return mine, others


def _with_annotators() -> list[tuple[Review, Annotator | None]]:
    back = Case.objects.filter(state=CaseState.LABELLING, reviews__act=Act.SEND_BACK).values_list("pk", flat=True)
    return [(review, asked_one(review)) for review in waiting(set(back)).values()]


def annotators(case: Case) -> list[tuple[Annotator, bool]]:
    """Return whom a case can be sent back to, each with whether they answered it before; those come first."""
    answered = set(case.annotations.filter(origin=Origin.LABEL_STUDIO).values_list("annotator", flat=True))
    people = Annotator.objects.filter(kind=AnnotatorKind.PERSON)
    found = people.filter(pk__in=answered) | people.filter(user__groups__name=Role.ANNOTATOR)
    active = found.exclude(user__is_active=False).distinct()
    named = [(annotator, annotator.pk in answered) for annotator in active.order_by("name")]
    return sorted(named, key=lambda one: not one[1])
