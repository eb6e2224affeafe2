"""Files of cases that people take out."""

from __future__ import annotations

from django.contrib import messages
from django.http import FileResponse, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods

from webapp.actions import export_files
from webapp.forms import ExportForm
from webapp.models import Export
from webapp.roles import Role, allow, person_of


@require_http_methods(["GET", "POST"])
@allow(Role.ADMIN)
def export_list(request: HttpRequest) -> HttpResponse:
    """List the exports, and have another one written."""
    form = ExportForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        row = export_files.request(given["schema"], given["format"], form.limits(), by=person_of(request))
        return redirect("export-page", pk=row.pk)
    rows = Export.objects.select_related("schema", "created_by").order_by("-id")[:50]
    context = {"form": form, "exports": rows, "title": "Exports"}
    return render(request, "exports.html", context, status=422 if form.errors else 200)


@require_GET
@allow(Role.ADMIN)
def export_page(request: HttpRequest, pk: int) -> HttpResponse:
    """Show one export; its middle is fetched again while a worker is at it."""
    row = get_object_or_404(Export.objects.select_related("schema", "created_by"), pk=pk)
    template = "export_progress.html" if request.htmx else "export.html"  # type: ignore[attr-defined]
    until = row.finished_at and row.finished_at + export_files.KEPT
    return render(request, template, {"row": row, "kept_until": until, "title": f"Export {row.pk}"})


@require_GET
@never_cache
@allow(Role.ADMIN)  # type: ignore[arg-type]  # A stream is no HttpResponse to Django
def download(request: HttpRequest, pk: int) -> HttpResponse | FileResponse:
    """Send the file."""
    row = get_object_or_404(Export.objects.select_related("schema"), pk=pk)
    path = export_files.take(row, by=person_of(request))
    if path is None:
        messages.info(request, "This file is not there; ask for another export.")
        return redirect("export-page", pk=pk)
    return FileResponse(path.open("rb"), as_attachment=True, filename=f"{row.schema.name}-{path.name}")
