"""Reading what people send."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django import forms
from django.http import QueryDict

from ml import answers
from ml.schema import Head, Kind
from ml.types import Labels
from webapp.casefiles.columns import parse_mapping
from webapp.errors import UnreadableFile
from webapp.models import Prediction, Profile, Schema
from webapp.queries.casepage import CasePage, HeadView

NO_REVISION = -1  # The form did not say which state of the case it shows
MARKS = {"yes": True, "no": False, "na": None}


@dataclass(frozen=True, slots=True)
class Answered:
    """A supervisor's form: the answers that could be read, and what is wrong with the rest."""

    answers: Labels
    revision: int
    shown: Prediction | None
    note: str
    errors: tuple[str, ...]


def read_answers(page: CasePage, form: QueryDict) -> Answered:
    """Read the answers of all heads. A sub-category that was changed sets its main category."""
    raw: dict[str, Any] = {}
    for view in page.heads:
        value = _value(view, form)
        if value is not None:
            raw[view.head.key] = value
    for view in page.heads:
        shown = next((option.key for option in view.options if option.is_chosen), None)
        parent = view.head.parent
        if parent and view.head.key in raw and raw[view.head.key] != shown:
            raw.pop(parent, None)  # Read again from the sub-category, which was chosen later and says more
    labels, problems = answers.read(page.schema, raw, text=page.case.stored_text.text)
    errors = [problem.message for problem in problems]
    errors += [
        f"{view.head.name} has no answer; choose one."
        for view in page.heads
        if view.is_required and view.head.key not in labels and view.head.key not in {p.head for p in problems}
    ]
    sent = form.get("revision", "")
    revision = int(sent) if sent.isdecimal() else NO_REVISION
    named = form.get("prediction", "")
    prediction = page.case.predictions.filter(pk=int(named)).first() if named.isdecimal() else None
    # The page of a decided audit shows the model's answers: one that names none would pass for blind. If the case has
    # changed since, the form is older than that page, and is told so when it is saved
    is_nameless = page.case.is_audit and page.shown is not None and not named and revision == page.case.revision
    if revision == NO_REVISION or (named and prediction is None) or is_nameless:
        errors.append("The form is not complete; open the case again.")
    return Answered(labels, revision, prediction, form.get("note", "").strip(), tuple(errors))


def _value(view: HeadView, form: QueryDict) -> Any:
    """Read what was sent for one head; None where nothing was asked or answered, which is not the same as "none"."""
    head = view.head
    match head.kind:
        case Kind.CHOICE:
            return form.get(head.key)
        case Kind.CHOICES:
            is_none = f"{head.key}.none" in form or any(option.is_chosen for option in view.options)
            return form.getlist(head.key) or ([] if is_none else None)
        case Kind.SPANS:
            return _spans(form.getlist(head.key)) if view.spans and f"{head.key}.shown" in form else None
        case Kind.RUBRIC:
            return _rubric(head, form)


def _spans(values: list[str]) -> list[dict[str, Any]]:
    spans = []
    for value in values:
        start, _, rest = value.partition(":")
        end, _, label = rest.partition(":")
        if start.isdecimal() and end.isdecimal():
            spans.append({"start": int(start), "end": int(end), "label": label})
    return spans


def _rubric(head: Head, form: QueryDict) -> dict[str, dict[str, bool | None]]:
    found: dict[str, dict[str, bool | None]] = {}
    for group in head.groups:
        for criterion in group.criteria:
            mark = form.get(f"{head.key}.{group.key}.{criterion.key}")
            if mark in MARKS:
                found.setdefault(group.key, {})[criterion.key] = MARKS[mark]
    return found


class ImportForm(forms.Form):
    """A file of cases to import."""

    file = forms.FileField(label="File", help_text="JSONL, JSON or CSV, UTF-8")
    schema = forms.ModelChoiceField(Schema.objects.order_by("-name"), to_field_name="name", empty_label=None)
    source = forms.CharField(max_length=100, initial="import", help_text="Where the cases come from")
    mapping = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 2}),
        label="Columns",
        help_text="Only where a column is not recognised by itself: one COLUMN=FIELD a line",
    )

    def clean_mapping(self) -> dict[str, str]:
        """Read the lines into column -> field."""
        try:
            return parse_mapping(line for line in self.cleaned_data["mapping"].splitlines() if line.strip())
        except UnreadableFile as exc:
            raise forms.ValidationError(str(exc)) from exc


class RetrainForm(forms.Form):
    """How much a training learns."""

    profile = forms.ChoiceField(choices=Profile.choices)


class PromotionForm(forms.Form):
    """Why a version is put in use."""

    reason = forms.CharField(max_length=500, min_length=3)
