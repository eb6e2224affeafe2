"""What became of the corrections of a person, and of those on a case."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from ml.policy import Side
from webapp.models import Annotation, Case, CaseState
from webapp.queries import schemas

SHOWN = 100


@dataclass(frozen=True, slots=True)
class Became:
    """One correction, and what became of it, in words."""

    annotation: Annotation
    heads: tuple[str, ...]  # That were corrected, by name
    words: str
    is_learnt: bool


def of_person(user: User) -> list[Became]:
    """Return the newest corrections of a person, the newest first."""
    mine = _corrections().filter(annotator__user=user).exclude(case__state=CaseState.ERASED)
    return [_became(one) for one in mine.order_by("-id")[:SHOWN]]


def of_case(case: Case) -> list[Became]:
    """Return the corrections on a case, the newest first."""
    return [_became(one) for one in _corrections().filter(case=case).order_by("-id")]


def _corrections() -> QuerySet[Annotation]:
    rows = Annotation.objects.filter(superseded_by=None, is_deletion=False, is_skip=False).exclude(changed_heads=[])
    return rows.select_related("case__schema", "annotator", "receipt__version")


def _became(one: Annotation) -> Became:
    heads = schemas.newest_version(one.case.schema).parsed.by_key
    names = {key: heads[key].name if key in heads else key for key in one.changed_heads}
    receipt = getattr(one, "receipt", None)
    if receipt is None:
        return Became(one, tuple(names.values()), _waits(one), is_learnt=False)
    right = [names.get(key, key) for key, is_right in receipt.heads.items() if is_right]
    wrong = [names.get(key, key) for key, is_right in receipt.heads.items() if not is_right]
    words = [_("Version %(number)s learnt from it.") % {"number": receipt.version.number}]
    if right:
        words.append(_("It now answers right: %(heads)s.") % {"heads": ", ".join(right)})
    if wrong:
        words.append(_("It still answers otherwise: %(heads)s.") % {"heads": ", ".join(wrong)})
    if receipt.similar:
        counts = {"n": receipt.changed, "total": receipt.similar}
        words.append(_("%(n)s of %(total)s similar cases changed their answer.") % counts)
    return Became(one, tuple(names.values()), " ".join(words), is_learnt=True)


def _waits(one: Annotation) -> str:
    if one.case.side == Side.TEST:
        return _("Versions are measured on this case and never learn from it.")
    if one.case.state == CaseState.WITHDRAWN:
        return _("The case was withdrawn; nothing is learnt from it.")
    labels = {label.head: label.answer for label in one.case.labels.all()}
    if not any(labels.get(head) == one.answers.get(head) for head in one.changed_heads):
        return _("Another answer stands for this case.")
    return _("No version has learnt from it yet; the next training does.")
