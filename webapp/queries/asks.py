"""What annotators were asked for by a supervisor who sent a case back, and have not answered yet."""

from __future__ import annotations

from collections.abc import Collection

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

from webapp.models import Act, Annotation, Annotator, AnnotatorKind, Case, CaseState, Origin, Review
from webapp.roles import Role


def waiting(cases: Collection[int]) -> dict[int, Review]:
    """Return by case id what is asked of annotators: the newest act on a case, if it sent the case back, unanswered."""
    newest = Review.objects.filter(case__in=cases).order_by("case_id", "-id").distinct("case_id")
    asked = {review.case_id: review for review in newest.select_related("to", "person", "case__schema")}
    asked = {case: review for case, review in asked.items() if review.act == Act.SEND_BACK}
    answers = Annotation.objects.filter(case__in=asked, origin=Origin.LABEL_STUDIO, is_skip=False, is_deletion=False)
    for case, annotator, pk in answers.order_by("id").values_list("case", "annotator", "pk"):
        review = asked.get(case)
        if review is not None and pk > review.known and review.to_id in (None, annotator):
            del asked[case]
    return asked


def of(user: AbstractBaseUser | AnonymousUser) -> list[Review]:
    """Return what is asked of one annotator, the oldest first."""
    back = Case.objects.filter(state=CaseState.LABELLING, reviews__act=Act.SEND_BACK).values_list("pk", flat=True)
    found = [one for one in waiting(set(back)).values() if one.to is None or one.to.user_id == user.pk]
    return sorted(found, key=lambda review: review.pk)


def annotators(case: Case) -> list[tuple[Annotator, bool]]:
    """Return whom a case can be sent back to, each with whether they answered it before; those come first."""
    answered = set(case.annotations.filter(origin=Origin.LABEL_STUDIO).values_list("annotator", flat=True))
    people = Annotator.objects.filter(kind=AnnotatorKind.PERSON)
    found = people.filter(pk__in=answered) | people.filter(user__groups__name=Role.ANNOTATOR, user__is_active=True)
    named = [(annotator, annotator.pk in answered) for annotator in found.distinct().order_by("name")]
    return sorted(named, key=lambda one: not one[1])
