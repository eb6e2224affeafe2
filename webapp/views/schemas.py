"""The versions of each label schema, and putting a new one in the place of the one before."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from ml.schema import Schema as ParsedSchema
from webapp.actions import succession as applying
from webapp.errors import NotApplicable
from webapp.queries import succession
from webapp.roles import Role, allow, person_of
from webapp.schemaform import ApplySchemaForm, SchemaFileForm


@require_http_methods(["GET", "POST"])
@allow(Role.ADMIN)
def schema_list(request: HttpRequest) -> HttpResponse:
    """List the versions of all schemas; with a file, show what it would change."""
    form = SchemaFileForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        parsed = form.cleaned_data["file"]
        return _page(request, form, parsed)
    return _page(request, form)


@require_POST
@allow(Role.ADMIN)
def apply_schema(request: HttpRequest) -> HttpResponse:
    """Apply a document that was previewed."""
    form = ApplySchemaForm(request.POST)
    if not form.is_valid():
        for error in (*form.errors.get("document", []), *form.errors.get("before", [])):
            messages.error(request, f"Nothing was changed: {error}")
        return _page(request, SchemaFileForm(), form.cleaned_data.get("document"), form)
    given = form.cleaned_data
    try:
        done = applying.apply(given["document"], by=person_of(request), reason=given["reason"], before=given["before"])
    except NotApplicable as exc:
        messages.error(request, f"Nothing was changed: {exc}.")
    else:
        messages.success(
            request,
            f"{done.version} is in use. {done.translated} cases translated; {done.asked_again} go back to annotators.",
        )
    return redirect("schemas")


def _page(
    request: HttpRequest,
    form: SchemaFileForm,
    parsed: ParsedSchema | None = None,
    applying_form: ApplySchemaForm | None = None,
) -> HttpResponse:
    preview = None
    if parsed is not None:
        try:
            preview = succession.preview(parsed)
        except NotApplicable as exc:
            messages.error(request, f"It cannot be applied: {exc}.")
    if parsed is not None and preview is not None and applying_form is None:
        applying_form = ApplySchemaForm(initial={"document": parsed.document, "before": preview.old.version})
    context = {
        "form": form,
        "parsed": parsed,
        "preview": preview,
        "applying": applying_form,
        "history": succession.history(),
        "title": "Schemas",
    }
    is_wrong = bool(form.errors or (applying_form and applying_form.errors))
    return render(request, "schemas.html", context, status=422 if is_wrong else 200)
