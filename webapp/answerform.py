"""Reading the answers that people send from the page of a case."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from django.http import QueryDict
from django.utils.translation import gettext as _

from ml import answers, surrogates
from ml.schema import Head, Kind
from ml.types import Labels, Span
from webapp.forms import storable
from webapp.models import Correction, Prediction
from webapp.queries import casepage
from webapp.queries.casepage import CasePage, HeadView

NO_REVISION = -1  # The form did not say which state of the case it shows
MARKS = {"yes": True, "no": False, "na": None}
TOOK = "took"  # What case.js says when somebody takes the answer of an annotator
LONGEST_RANGE = 20  # Digits of a start and an end
LONGEST_ROW = 18  # Digits of the number of a row


@dataclass(frozen=True, slots=True)
class Answered:
    """A supervisor's form: the answers that could be read, and what is wrong with the rest."""

    answers: Labels
    typed: dict[str, Any]  # What was sent for each head, whether or not it could be read
    revision: int
    shown: Prediction | None
    reason: str
    note: str
    known: int | None  # The newest annotation that was on the page
    errors: tuple[str, ...]


def read_answers(page: CasePage, form: QueryDict) -> Answered:
    """Read the answers of all heads. A sub-category that was changed sets its main category.

    Entities come as places of the text that the form was shown with, and are moved to the original. Of a blind case
    every head must be answered: what was left out cannot be measured.
    """
    raw: dict[str, Any] = {}
    named_cover = form.get("cover", "")
    cover = page.case.covers.filter(pk=int(named_cover)).first() if _is_number(named_cover) else None
    over = cover.parsed if cover else surrogates.Cover()
    original = page.case.stored_text.text
    text = over.applied(original)
    for view in page.heads:
        value = _value(view, form, text, over)
        if value is not None:
            raw[view.head.key] = value
    typed = dict(raw)
    for head in page.schema.of_kind(Kind.SPANS):
        typed[f"{head.key}.words"], typed[f"{head.key}.label"] = (
            form.get(f"{head.key}.{part}", "") for part in ("words", "label")
        )
    for view in page.heads:
        shown = next((option.key for option in view.options if option.is_chosen), None)
        parent = view.head.parent
        if parent and view.head.key in raw and raw[view.head.key] != shown:
            raw.pop(parent, None)  # Read again from the sub-category, which was chosen later and says more
    labels, problems = answers.read(page.schema, raw, text=original)
    errors = [problem.message for problem in problems]
    errors += [
        _("%(head)s: these words do not stand in the text, or are marked already.") % {"head": view.head.name}
        for view in page.heads
        if view.head.kind == Kind.SPANS and _is_lost(view.head, form, text)
    ]
    faulty = {problem.head for problem in problems}
    missing = [_unanswered(view, labels, is_blind=page.is_blind) for view in page.heads if view.head.key not in faulty]
    errors += [words for words in missing if words]
    sent = form.get("revision", "")
    revision = int(sent) if sent.isdecimal() else NO_REVISION
    named = form.get("prediction", "")
    prediction = page.case.predictions.filter(pk=int(named)).first() if named.isdecimal() else None
    # The page of a decided audit shows the model's answers: one that names none would pass for blind. If the case has
    # changed since, the form is older than that page, and is told so when it is saved
    is_nameless = page.case.is_audit and page.shown is not None and not named and revision == page.case.revision
    is_lost = (named and prediction is None) or (named_cover and cover is None)
    if revision == NO_REVISION or is_lost or is_nameless:
        errors.append(_("The form is not complete; open the case again."))
    reason, known = form.get("reason", ""), form.get("known", "")
    return Answered(
        labels,
        typed,
        revision,
        prediction,
        reason if reason in Correction else "",
        storable(form.get("note", "")).strip(),
        int(known) if known.isdecimal() else None,
        tuple(errors),
    )


def is_changed(page: CasePage, form: QueryDict) -> bool:
    """Whether a form says anything else than the page that it was sent from, or has a reason or a note."""
    sent = read_answers(page, form)
    if sent.reason or sent.note or sent.revision != page.case.revision:
        return True
    again = casepage.page(page.case, chosen=sent.typed, sides=page.sides)
    before, after = ([_standing(view, is_blind=page.is_blind) for view in shown.heads] for shown in (page, again))
    return after != before


def _standing(view: HeadView, *, is_blind: bool) -> tuple[object, ...]:
    """Return what of a head is chosen on the page."""
    chosen = {option.key for option in view.options if option.is_chosen}
    marked = {span.value for span in view.spans if span.is_chosen}
    marks = {(group, mark.key): mark.value for group, found in view.groups for mark in found}
    is_none = view.is_none and (is_blind or view.head.kind == Kind.CHOICES)
    return chosen, marked, marks, is_none, view.typed_words


def _unanswered(view: HeadView, labels: Labels, *, is_blind: bool) -> str:
    """Return what is missing of the answer of a head; "" where nothing is."""
    head, answer = view.head, labels.get(view.head.key)
    if is_blind and head.kind == Kind.RUBRIC:
        marks = answer if isinstance(answer, dict) else {}
        total = sum(len(group.criteria) for group in head.groups)
        missing = total - sum(len(found) for found in marks.values())
        words = _("%(head)s: %(missing)d of %(total)d have no mark; mark them, or tick that the rest does not apply.")
        return words % {"head": head.name, "missing": missing, "total": total} if missing else ""
    above = labels.get(head.parent or "")
    if answer is not None or (head.parent and isinstance(above, str) and not head.children(above)):
        return ""
    if is_blind and head.kind == Kind.CHOICES:
        return _("%(head)s has no answer; tick what fits, or that none does.") % {"head": head.name}
    if is_blind and head.kind == Kind.SPANS:
        return _("%(head)s has no answer; mark what is there, or tick that there is nothing.") % {"head": head.name}
    return _("%(head)s has no answer; choose one.") % {"head": head.name} if is_blind or view.is_required else ""


def _is_number(written: str) -> bool:
    return written.isdecimal() and len(written) <= LONGEST_ROW


def _value(view: HeadView, form: QueryDict, text: str, over: surrogates.Cover) -> Any:
    """Read what was sent for one head; None where nothing was asked or answered, which is not the same as "none"."""
    head = view.head
    match head.kind:
        case Kind.CHOICE:
            return form.get(head.key)
        case Kind.CHOICES:
            is_none = f"{head.key}.none" in form or any(option.is_chosen for option in view.options)
            return form.getlist(head.key) or ([] if is_none else None)
        case Kind.SPANS:
            spans = _spans(form.getlist(head.key))
            added = _typed_span(head, form, text, spans)
            # What only others marked, and nobody took, was not answered
            is_answered = any(span.is_said or span.is_chosen for span in view.spans)
            is_none = form.get(f"{head.key}.shown") == TOOK or (is_answered and f"{head.key}.shown" in form)
            is_none = is_none or f"{head.key}.none" in form
            found = [*spans, *added]
            if over.pieces:
                found = over.spans_back(found, view.known)
            return found or ([] if is_none else None)
        case Kind.RUBRIC:
            return _rubric(head, form)


def _spans(values: list[str]) -> list[Span]:
    spans: list[Span] = []
    for value in values:
        start, _, rest = value.partition(":")
        end, _, label = rest.partition(":")
        if start.isdecimal() and end.isdecimal() and len(start + end) <= LONGEST_RANGE:
            spans.append({"start": int(start), "end": int(end), "label": label})
    return spans


def _typed_span(head: Head, form: QueryDict, text: str, spans: list[Span]) -> list[Span]:
    """Return where words that somebody typed stand first in a text without being marked; nowhere, or once."""
    words = form.get(f"{head.key}.words", "").strip()
    label = form.get(f"{head.key}.label", "")
    if not words:
        return []
    for found in re.finditer(rf"(?<!\w){re.escape(words)}(?!\w)", text):
        start, end = found.span()
        if not any(span["start"] < end and start < span["end"] for span in spans):
            return [{"start": start, "end": end, "label": label}]
    return []


def _is_lost(head: Head, form: QueryDict, text: str) -> bool:
    """Whether words were typed that are nowhere to be marked."""
    is_typed = bool(form.get(f"{head.key}.words", "").strip())
    return is_typed and not _typed_span(head, form, text, _spans(form.getlist(head.key)))


def _rubric(head: Head, form: QueryDict) -> dict[str, dict[str, bool | None]]:
    found: dict[str, dict[str, bool | None]] = {}
    for group in head.groups:
        for criterion in group.criteria:
            mark = form.get(f"{head.key}.{group.key}.{criterion.key}") or form.get(f"{head.key}.rest")
            if mark in MARKS:
                found.setdefault(group.key, {})[criterion.key] = MARKS[mark]
    return found
