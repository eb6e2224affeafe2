"""The form of a routing policy.

A field is named as the value that it sets; a dot leads into an object. So a new value needs a line in `GROUPS`, and one
in `webapp.actions.schemas.policy_of`, which checks it. A value that has no field stays as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django import forms
from django.forms import BoundField
from django.utils.translation import gettext_lazy as _

from ml import policy
from ml.schema import Head, Kind
from webapp.actions import schemas
from webapp.errors import NotSettable
from webapp.models import Schema
from webapp.queries import policies
from webapp.queries import schemas as in_force

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise


def number(
    label: StrOrPromise, help_text: StrOrPromise, *, most: float | None = None, step: str = "any"
) -> forms.Field:
    """Return a field for a number; the browser hints at its bounds, and `policy_of` checks them."""
    bounds = {"min": 0, "step": step} | ({"max": most} if most is not None else {})
    kind = forms.IntegerField if step == "1" else forms.FloatField
    return kind(label=label, help_text=help_text, widget=forms.NumberInput(attrs=bounds))


GROUPS: Mapping[StrOrPromise, Mapping[str, forms.Field]] = {
    _("Urgent cases and the audit"): {
        "urgent_threshold": number(
            _("Urgent from"),
            _("A case goes to a supervisor when the urgent end is at least this probable, from 0 to 1."),
            most=1,
        ),
        "audit_share": number(
            _("Share for the audit"),
            _(
                "This share of all new cases is answered by people who see no model answer. They alone measure the "
                "model."
            ),
            most=1,
        ),
    },
    _("What comes first"): {
        "missed_urgent_cost": number(
            _("Cost of missing the urgent end"),
            _("Stands in the place of the cost of a mistake where the urgent end is true."),
        ),
        "doubling_hours": number(
            _("Harm doubles in hours"), _("The longer a case waits, the more a mistake on it counts.")
        ),
    },
    _("Several annotators for one case"): {
        "overlap_share": number(
            _("Share of the cases"), _("This share of the cases that go to annotators is answered by several."), most=1
        ),
        "overlap_annotators": number(_("Annotators of each"), _("How many answer such a case, from 2 to 9."), step="1"),
    },
    _("Names, places and phone numbers"): {
        "hidden_labels": forms.MultipleChoiceField(
            label=_("Hidden from annotators"),
            help_text=_(
                "Surrogates (“Child A”) stand for these in Label Studio, as far as the model finds them, and for phone "
                "numbers. None chosen: texts go out as they are."
            ),
            required=False,
            widget=forms.CheckboxSelectMultiple,
        ),
        "hide_from_reviewers": forms.BooleanField(
            label=_("Hide them at the desk too"),
            help_text=_("Supervisors see a name once they say what they need it for; the audit log keeps it."),
            required=False,
        ),
        "reveal_minutes": number(_("Minutes that a name stays shown"), _("Then it is hidden again, from 1 to 720.")),
        "phone_region": forms.CharField(
            label=_("Country of phone numbers"),
            help_text=_("Two letters, as KE: numbers without a country code are read as of there. Empty: none is."),
            max_length=2,
            required=False,
        ),
    },
    _("When to train"): {
        "train_after": number(
            _("New labels"), _("So many cases newly labelled start a training; 0 for never."), step="1"
        ),
    },
    _("The gate: what a new version must show"): {
        "gate.least_cases": number(_("Cases needed"), _("Fewer labelled cases decide nothing."), step="1"),
        "gate.recall_margin": number(
            _("Recall may fall by"), _("Where a miss is dangerous. A version that falls by more is refused."), most=1
        ),
        "gate.slice_margin": number(
            _("A slice may fall by"), _("If a head surely falls by more, a person decides."), most=1
        ),
        "gate.calibration_margin": number(
            _("Calibration error may rise by"), _("A version whose error surely rises by more is refused."), most=1
        ),
        "gate.is_automatic": forms.BooleanField(
            label=_("Put a better version in use by itself"), help_text=_("If not, an admin decides."), required=False
        ),
        "gate.slices": forms.JSONField(
            label=_("Further slices, as JSON"),
            help_text=_('Cases to look at apart: [{"name": "capital", "where": {"county": ["Nairobi"]}}]'),
            required=False,
            widget=forms.Textarea(attrs={"rows": 3}),
        ),
    },
}
OF_HEADS: Mapping[
    str, tuple[StrOrPromise, StrOrPromise]
] = {  # Columns of the table of heads; an empty cell leaves a head out
    "thresholds": (
        _("Accepted from"),
        _("of this confidence, from 0 to 1; without one the head sends no case to a person"),
    ),
    "mistake_cost": (_("Cost of a mistake"), _("1 where it is empty")),
    "disagreement_limits": (
        _("Disagreement up to"),
        _("from 0 to 1; annotators farther apart send the case to a supervisor; empty: 0 if it routes, else no limit"),
    ),
}


@dataclass(frozen=True, slots=True)
class HeadRow:
    """What is set for one head."""

    head: Head
    cells: tuple[BoundField, ...]


class PolicyForm(forms.Form):
    """A policy of a schema, begun from the one in force."""

    instead_of = forms.IntegerField(widget=forms.HiddenInput)
    reason = forms.CharField(
        label=_("Why"), min_length=3, max_length=500, help_text=_("Kept in the history, for whoever wonders later.")
    )

    def __init__(self, schema: Schema, given: Mapping[str, Any] | None = None, *, is_trial: bool = False) -> None:
        self.row = in_force.policy(schema)
        self.parsed = in_force.newest_version(schema).parsed
        self.policy: policy.Policy | None = None  # Once it is valid
        values = policies.filled(self.row)
        super().__init__(given, initial={"instead_of": self.row.pk} | _flat(values), use_required_attribute=False)
        self.fields["reason"].required = not is_trial
        for fields in GROUPS.values():
            self.fields.update(deepcopy(dict(fields)))
        of_spans = [label for head in self.parsed.of_kind(Kind.SPANS) for label in head.labels]
        # Typed as any field, and one of these it is
        self.fields["hidden_labels"].choices = [(one.key, one.name) for one in of_spans]  # type: ignore[attr-defined]
        for key, (label, _help) in OF_HEADS.items():
            for head in self.parsed.heads:
                cell = number(f"{label}: {head.name}", "", most=None if key == "mistake_cost" else 1)
                cell.required = False
                cell.widget.attrs["aria-label"] = cell.label
                self.fields[f"{key}.{head.key}"] = cell

    @property
    def groups(self) -> list[tuple[StrOrPromise, list[BoundField]]]:
        """The fields under their headings."""
        return [(title, [self[name] for name in fields]) for title, fields in GROUPS.items()]

    @property
    def columns(self) -> list[tuple[StrOrPromise, StrOrPromise]]:
        """The headings of the table of heads, each with what it means."""
        return list(OF_HEADS.values())

    @property
    def head_rows(self) -> list[HeadRow]:
        """The table of heads."""
        return [HeadRow(head, tuple(self[f"{key}.{head.key}"] for key in OF_HEADS)) for head in self.parsed.heads]

    def clean(self) -> dict[str, Any]:
        """Check the whole policy as the command does; a fault stands beside the value that it is about."""
        if not self.errors:
            try:
                self.policy = schemas.policy_of(self.parsed, self._values())
            except NotSettable as exc:
                name = str(exc).split(maxsplit=1)[0].partition("[")[0]
                self.add_error(name if name in self.fields else None, str(exc))
        return self.cleaned_data

    def _values(self) -> dict[str, Any]:
        values: dict[str, Any] = deepcopy(schemas.without_lost_heads(self.parsed, self.row.values))
        for name, found in self.cleaned_data.items():
            key, _, part = name.partition(".")
            if part and found is None:
                values.get(key, {}).pop(part, None)
            elif part:
                values.setdefault(key, {})[part] = found
            elif name not in ("instead_of", "reason"):
                values[key] = found
        return values


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    nested = {
        f"{key}.{part}": found
        for key, value in values.items()
        if isinstance(value, Mapping)
        for part, found in value.items()
    }
    return {**values, **nested}
