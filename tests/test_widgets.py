"""The quick list of choices is Django's own, only quicker."""

from __future__ import annotations

import pytest
from django import forms

from tests.conftest import trained_version
from webapp.queueform import FilterForm
from webapp.widgets import QuickSelect

CHOICES = [("", "any"), ("a", "<A> & B"), ("Group <1>", [("b", "B"), (3, "three")])]


def plain(html: str) -> str:
    return "".join(line.strip() for line in html.splitlines())


@pytest.mark.parametrize("value", ["", "a", "b", 3, None])
def test_it_writes_what_django_writes(value) -> None:
    given = {"choices": CHOICES, "attrs": {"id": "one", "title": '"'}}
    assert plain(QuickSelect(**given).render("field", value)) == plain(forms.Select(**given).render("field", value))


def test_the_filters_of_the_queue_render_no_template_for_a_choice(helpline) -> None:
    trained_version(helpline)
    form = FilterForm({"flag": "urgent"})
    assert {type(field.widget) for field in form.fields.values() if isinstance(field, forms.ChoiceField)} == {
        QuickSelect,
        forms.HiddenInput,
    }
    assert '<option value="urgent" selected>' in str(form["flag"])
