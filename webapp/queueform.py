"""The forms of the queue: what it is limited to and in which order, what is searched for, and the name of a view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django import forms
from django.utils.choices import flatten_choices
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from webapp.models import Schema
from webapp.queries import choices
from webapp.queries.filters import ANY, URGENT_FIRST, Filters
from webapp.queries.queue import LISTED
from webapp.widgets import QuickSelect


@dataclass(frozen=True, slots=True)
class Chip:
    """A link to the same list with one thing changed."""

    words: str
    query: str
    is_shown: bool = False


class FilterForm(forms.Form):
    """What the queue is limited to, as its address says. What cannot be read limits nothing."""

    STATES = (*((state.value, state.label) for state in LISTED), (ANY, gettext_lazy("any state")))
    ORDERS = (("", gettext_lazy("Most harm first")), (URGENT_FIRST, gettext_lazy("Urgent first")))
    AGES = (
        (1, gettext_lazy("1 hour")),
        (8, gettext_lazy("8 hours")),
        (24, gettext_lazy("1 day")),
        (72, gettext_lazy("3 days")),
    )
    APART = ("state", "schema", "search", "order")  # Chosen elsewhere on the page, and kept when the form is sent

    flag = forms.ChoiceField(widget=QuickSelect, label=gettext_lazy("Flag"))
    head = forms.ChoiceField(widget=QuickSelect, label=gettext_lazy("In doubt"))
    label = forms.ChoiceField(widget=QuickSelect, label=gettext_lazy("Label"))
    least = forms.IntegerField(min_value=0, max_value=100, label=gettext_lazy("Confidence from (%)"))
    most = forms.IntegerField(min_value=0, max_value=100, label=gettext_lazy("Confidence to (%)"))
    older = forms.TypedChoiceField(widget=QuickSelect, coerce=int, empty_value=None, label=gettext_lazy("Older than"))
    source = forms.ChoiceField(widget=QuickSelect, label=gettext_lazy("Source"))
    held = forms.ChoiceField(widget=QuickSelect, label=gettext_lazy("With"))
    state = forms.ChoiceField(choices=STATES, widget=forms.HiddenInput)
    schema = forms.ModelChoiceField(Schema.objects.order_by("-name"), to_field_name="name", widget=forms.HiddenInput)
    search = forms.IntegerField(min_value=1, max_value=2**63 - 1, widget=forms.HiddenInput)
    order = forms.ChoiceField(choices=ORDERS, widget=forms.HiddenInput)

    def __init__(self, given: Mapping[str, Any]) -> None:
        super().__init__(given, use_required_attribute=False)
        offered: dict[str, Sequence[Any]] = {
            "flag": choices.flags(),
            "head": choices.heads(),
            "label": choices.labels(),
            "older": self.AGES,
            "source": [(source, source) for source in choices.sources()],
            "held": choices.holders(),
        }
        for name, field in self.fields.items():
            field.required = False
            if name in offered:
                field.choices = [("", _("any")), *offered[name]]  # type: ignore[attr-defined]

    def filters(self) -> Filters:
        """Return what could be read."""
        self.full_clean()
        found = dict(self.cleaned_data)
        if found.get("schema"):
            found["schema"] = found["schema"].name
        if found.get("state") == ANY:
            found["order"] = ""  # No index holds it, and most cases of all states are urgent to nobody any more
        return Filters.of(found)

    def states(self, given: Filters) -> list[Chip]:
        """Return a chip for each state that is listed."""
        return [
            Chip(str(words), replace(given, state=state).query, is_shown=given.state == state)
            for state, words in self.STATES
        ]

    def orders(self, given: Filters) -> list[Chip]:
        """Return a chip for each order in which these cases can be listed."""
        return [
            Chip(str(words), replace(given, order=order).query, is_shown=given.order == order)
            for order, words in self.ORDERS[: 1 if given.state == ANY else None]
        ]

    def schemas(self, given: Filters) -> list[Chip]:
        """Return a chip for each schema, and one for all of them."""
        named = [("", _("All")), *((one.name, one.title) for one in Schema.objects.order_by("-name"))]
        return [Chip(words, replace(given, schema=name).query, is_shown=given.schema == name) for name, words in named]

    def removals(self, given: Filters) -> list[Chip]:
        """Return a chip for each further filter, which takes it away."""
        default = Filters()
        return [
            Chip(self._words(name, value), replace(given, **{name: getattr(default, name)}).query)
            for name, value in given.given().items()
            if name not in self.APART
        ]

    def _words(self, name: str, value: object) -> str:
        field = self.fields[name]
        if isinstance(field, forms.ChoiceField):
            options: Any = field.choices
            flat: list[tuple[Any, Any]] = list(flatten_choices(options))
            value = {str(key): words for key, words in flat}.get(str(value), value)
        return f"{field.label}: {value}"


class SearchForm(forms.Form):
    """What to search the texts for."""

    words = forms.CharField(max_length=200, required=False)


class ViewForm(forms.Form):
    """The name of a view to keep."""

    name = forms.CharField(max_length=60, label=gettext_lazy("Name"))
