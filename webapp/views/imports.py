"""Uploading files of cases, and taking them out again."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from webapp.actions import exports, uploads
from webapp.casefiles.rows import MAX_DEPTH, MAX_ROW_CHARACTERS, MAX_ROWS, MAX_TEXT_CHARACTERS
from webapp.errors import CaseloopError
from webapp.forms import ImportForm
from webapp.models import Import, ImportState, Schema
from webapp.roles import Role, allow, person_of


@require_http_methods(["GET", "POST"])
@allow(Role.ADMIN)
def import_list(request: HttpRequest) -> HttpResponse:
    """List the imports, and take a new file."""
    form = ImportForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            row = uploads.receive(
                given["file"], given["schema"], mapping=given["mapping"], source=given["source"], by=person_of(request)
            )
        except CaseloopError as exc:
            form.add_error("file", str(exc))
        else:
            return redirect("import", pk=row.pk)
    rows = Import.objects.select_related("schema", "created_by").order_by("-id")[:50]
    limits = {
        "bytes": settings.IMPORT_MAX_BYTES,
        "rows": f"{MAX_ROWS:,}",
        "text": f"{MAX_TEXT_CHARACTERS:,}",
        "characters": f"{MAX_ROW_CHARACTERS:,}",
        "depth": MAX_DEPTH,
    }
    schemas = Schema.objects.order_by("name")
    context = {"form": form, "imports": rows, "limits": limits, "schemas": schemas, "title": "Imports"}
    return render(request, "imports.html", context, status=422 if form.errors else 200)


@require_GET
@allow(Role.ADMIN)
def import_page(request: HttpRequest, pk: int) -> HttpResponse:
    """Show the preview or the result of one import; its middle is fetched again while a worker is at it."""
    row = get_object_or_404(Import.objects.select_related("schema"), pk=pk)
    is_working = row.state in ("queued", "running") or (row.state == "previewed" and not row.report)
    template = "import_report.html" if request.htmx else "import.html"  # type: ignore[attr-defined]
    context = {
        "import": row,
        "report": row.report,
        "is_working": is_working,
        "kept_until": uploads.kept_until(row),
        "title": f"Import {row.name}",
    }
    return render(request, template, context)


@require_POST
@allow(Role.ADMIN)
def confirm(request: HttpRequest, pk: int) -> HttpResponse:
    """Import a previewed file."""
    row = get_object_or_404(Import, pk=pk)
    if not uploads.confirm(row):
        row.refresh_from_db()
        is_gone = row.state in (ImportState.EXPIRED, ImportState.FAILED)
        said = "This file is not kept any more; upload it again." if is_gone else "This file is imported already."
        messages.info(request, said)
    return redirect("import", pk=pk)


@require_POST
@allow(Role.ADMIN)  # type: ignore[arg-type]  # A stream is no HttpResponse to Django
def export(request: HttpRequest, schema: str) -> StreamingHttpResponse:
    """Send all cases of a schema with their annotations, as a Label Studio export."""
    found = get_object_or_404(Schema, name=schema)
    lines = exports.lines(found, by=person_of(request))
    response = StreamingHttpResponse((f"{line}\n" for line in lines), content_type="application/json")
    response["Content-Disposition"] = f'attachment; filename="{found.name}.json"'
    return response
