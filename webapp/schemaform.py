"""The forms of a new schema version: the file, and then the same document with a reason."""

from __future__ import annotations

from django import forms

from ml import schema
from ml.schema import SchemaError
from webapp.actions.promotions import LONGEST_REASON, SHORTEST_REASON

LARGEST = 2**20  # Bytes; a thousand labels with long definitions are a third of it


class SchemaFileForm(forms.Form):
    """A schema as a TOML file."""

    file = forms.FileField(
        label="New version",
        help_text="The schema as a TOML file, with a higher number. Nothing changes before you have seen what it does.",
        widget=forms.FileInput(attrs={"accept": ".toml"}),
    )

    def clean_file(self) -> schema.Schema:
        """Read the file."""
        given = self.cleaned_data["file"]
        if given.size > LARGEST:
            raise forms.ValidationError(f"The file has {given.size:,} bytes; expected at most {LARGEST:,}.")
        try:
            return schema.parse(given.read().decode("utf-8-sig"))
        except UnicodeDecodeError as exc:
            raise forms.ValidationError("The file is not in UTF-8.") from exc
        except SchemaError as exc:
            raise forms.ValidationError(f"The file is no schema: {exc}.") from exc


class ApplySchemaForm(forms.Form):
    """A document that was previewed, and why it is to be applied."""

    document = forms.CharField(max_length=2 * LARGEST, strip=False, widget=forms.HiddenInput)  # Lines end in two then
    before = forms.IntegerField(widget=forms.HiddenInput)  # The version that the preview compared it with
    reason = forms.CharField(
        min_length=SHORTEST_REASON, max_length=LONGEST_REASON, label="Why", help_text="Kept in the audit log"
    )

    def clean_document(self) -> schema.Schema:
        """Read the document again: it came from the browser."""
        try:
            return schema.parse(self.cleaned_data["document"].replace("\r\n", "\n"))  # Browsers send lines so
        except SchemaError as exc:
            raise forms.ValidationError(f"It is no schema any more: {exc}.") from exc
