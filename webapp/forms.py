"""Reading what people send."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, time
from typing import Any

from django import forms
from django.utils import timezone
from django.utils.translation import gettext_lazy

from webapp.casefiles.columns import parse_mapping
from webapp.errors import UnreadableFile
from webapp.models import CaseState, Event, ExportFormat, Profile, Schema, Scope
from webapp.posting import LONGEST_ADDRESS
from webapp.queries.schedules import DAYS, MOST_CASES
from webapp.roles import Role

DAY = "A day such as 2026-03-01"
LONGEST_NUMBER = 9  # Digits of a number that a column holds


def storable(text: str) -> str:
    """Return a text without the one character that PostgreSQL cannot hold."""
    return text.replace("\x00", "")


class ImportForm(forms.Form):
    """A file of cases to import."""

    file = forms.FileField(label="File", help_text="JSONL, JSON or CSV in UTF-8, a spreadsheet (.xlsx) or Parquet")
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


class SubscriptionForm(forms.Form):
    """An address that is told of events."""

    address = forms.CharField(max_length=LONGEST_ADDRESS, help_text="https://HOST/PATH of the other system")
    events = forms.MultipleChoiceField(choices=Event.choices, widget=forms.CheckboxSelectMultiple)
    schema = forms.ModelChoiceField(
        Schema.objects.order_by("name"), to_field_name="name", required=False, empty_label="all schemas"
    )


class ExportForm(forms.Form):
    """Which cases to take out, and as what."""

    schema = forms.ModelChoiceField(Schema.objects.order_by("-name"), to_field_name="name", empty_label=None)
    format = forms.ChoiceField(choices=ExportFormat.choices)
    state = forms.ChoiceField(
        choices=[("", "any but withdrawn"), *(one for one in CaseState.choices if one[0] != CaseState.ERASED)],
        required=False,
    )
    source = forms.CharField(max_length=100, required=False, help_text="Of all sources where none is named")
    since = forms.DateField(required=False, label="Arrived from", help_text=DAY)
    before = forms.DateField(required=False, label="Arrived before", help_text=DAY)

    def limits(self) -> dict[str, str]:
        """Return what was chosen, days as the moments when they begin here."""
        given = {name: str(self.cleaned_data[name] or "") for name in ("state", "source")}
        for name in ("since", "before"):
            if day := self.cleaned_data[name]:
                given[name] = timezone.make_aware(datetime.combine(day, time())).isoformat()
        return given


class RetrainForm(forms.Form):
    """How much a training learns."""

    profile = forms.ChoiceField(choices=Profile.choices)


class ScheduleForm(forms.Form):
    """When a schema is trained by itself."""

    days = forms.MultipleChoiceField(choices=[(day, day.title()) for day in DAYS], required=False)
    at = forms.TimeField(required=False)
    profile = forms.ChoiceField(choices=Profile.choices)
    train_after = forms.IntegerField(min_value=0, max_value=MOST_CASES)


class RestoreForm(forms.Form):
    """Why an earlier policy is put back, and in the place of which one."""

    reason = forms.CharField(max_length=500, min_length=3)
    instead_of = forms.IntegerField()


class PromotionForm(forms.Form):
    """Why a version is put in use, and whether against the gate."""

    reason = forms.CharField(max_length=500, min_length=3)
    override = forms.BooleanField(required=False)


class PersonForm(forms.Form):
    """Somebody to add."""

    username = forms.CharField(max_length=150, label="Name", help_text="To sign in with: letters, digits and @ . + - _")
    email = forms.EmailField(label="Address", help_text="Links them with their user in Label Studio.")
    role = forms.ChoiceField(choices=[(role.value, role.value) for role in Role])


class RoleForm(forms.Form):
    """Another role."""

    role = forms.ChoiceField(choices=[(role.value, role.value) for role in Role])


class TokenForm(forms.Form):
    """A token of one's own."""

    name = forms.CharField(max_length=100, label=gettext_lazy("What for"))
    days = forms.IntegerField(min_value=1, max_value=366, initial=90, label=gettext_lazy("Days until it ends"))
    scopes = forms.TypedMultipleChoiceField(
        coerce=Scope,
        widget=forms.CheckboxSelectMultiple,
        label=gettext_lazy("What it opens"),
        error_messages={"required": gettext_lazy("Choose.")},
    )

    def __init__(self, scopes: Collection[Scope], given: Mapping[str, Any] | None = None) -> None:
        super().__init__(given, use_required_attribute=False)
        self.fields["scopes"].choices = [  # type: ignore[attr-defined]
            (scope.value, scope.label) for scope in Scope if scope in scopes
        ]
