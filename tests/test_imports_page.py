"""Uploading a file in the browser: preview, confirm, result."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from tests.conftest import case_named
from webapp.actions import uploads
from webapp.models import Case, Import, ImportState
from webapp.roles import Role

ROWS = b'{"id": "1", "text": "a", "priority": "1"}\n{"id": "2", "text": "b", "priority": "now <b>"}\n["x"]\n'


@pytest.fixture
def admin(helpline, signed_in, settings, tmp_path: Path) -> Client:
    settings.IMPORTS_DIR = tmp_path / "imports"
    return signed_in(Role.ADMIN)


def upload(admin: Client, content: bytes = ROWS, name: str = "march.jsonl", **form: str) -> Any:
    values = {"schema": "helpline", "source": "calls", "mapping": ""} | form
    return admin.post("/imports/", values | {"file": SimpleUploadedFile(name, content)})


def test_a_file_is_previewed_confirmed_and_imported(admin, sent, django_capture_on_commit_callbacks) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        answer = upload(admin)
    row = Import.objects.get()
    assert (answer["Location"], sent) == (f"/imports/{row.pk}/", [("preview_import", row.pk)])
    assert "The file is being read…" in admin.get(f"/imports/{row.pk}/").content.decode()

    uploads.preview(row.pk)
    preview = admin.get(f"/imports/{row.pk}/").content.decode()
    for words in (
        "Import 2 rows",
        "<td>priority</td><td>now &lt;b&gt;</td>",
        "the row is a list; expected an object with named fields",
        "<td>text</td><td>text</td>",
    ):
        assert words in preview
    assert list(Case.objects.all()) == []

    sent.clear()
    with django_capture_on_commit_callbacks(execute=True):
        admin.post(f"/imports/{row.pk}/confirm/")
    assert sent == [("apply_import", row.pk)]
    assert "Importing…" in admin.get(f"/imports/{row.pk}/").content.decode()

    uploads.apply(row.pk)
    done = admin.get(f"/imports/{row.pk}/").content.decode()
    assert "<div><b>2</b><span>new cases</span></div>" in done
    assert "<div><b>1</b><span>left out</span></div>" in done
    assert case_named("1").source == "calls"


def test_a_second_confirmation_is_answered_with_a_message(admin) -> None:
    upload(admin)
    row = Import.objects.get()
    for _ in range(2):
        admin.post(f"/imports/{row.pk}/confirm/")
    assert "This file is imported already." in admin.get("/imports/").content.decode()


def test_while_a_worker_is_at_it_only_the_middle_of_the_page_is_fetched_again(admin) -> None:
    upload(admin)
    row = Import.objects.get()
    middle = admin.get(f"/imports/{row.pk}/", headers={"HX-Request": "true"}).content.decode()
    assert middle.lstrip().startswith('<div id="report" hx-get=')
    assert "<html" not in middle
    Import.objects.update(state=ImportState.DONE, report={"rows": 3, "done": 3})
    assert "hx-get" not in admin.get(f"/imports/{row.pk}/", headers={"HX-Request": "true"}).content.decode()


def test_columns_are_mapped_by_lines(admin) -> None:
    upload(admin, b"ref,summary\n7,help\n", "a.csv", mapping="ref = id\r\n\r\nsummary=text\r\n")
    row = Import.objects.get()
    assert row.mapping == {"ref": "id", "summary": "text"}
    uploads.confirm(row)
    uploads.apply(row.pk)
    assert case_named("7").stored_text.text == "help"


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"name": "cases.xls"}, "the file ends in &#x27;.xls&#x27;; expected one of .jsonl"),
        ({"content": b""}, "The submitted file is empty."),
        ({"mapping": "ref"}, "the mapping &#x27;ref&#x27; is not of the form COLUMN=FIELD"),
        ({"schema": "weather"}, "Select a valid choice."),
        ({"source": ""}, "This field is required."),
        ({"source": "x" * 101}, "Ensure this value has at most 100 characters"),
    ],
    ids=["another kind", "empty", "mapping", "schema", "no source", "long source"],
)
def test_a_form_that_cannot_be_taken_says_why(admin, form, message) -> None:
    answer = upload(admin, **form)
    assert answer.status_code == 422
    assert message in answer.content.decode()
    assert list(Import.objects.all()) == []


def test_a_file_that_is_too_large_says_why(admin, settings) -> None:
    settings.IMPORT_MAX_BYTES = 10
    answer = upload(admin)
    assert answer.status_code == 422
    assert f"the file has {len(ROWS)} bytes; expected at most 10" in answer.content.decode()


def test_rows_that_repeat_a_case_are_named_and_not_counted_as_cases(admin) -> None:
    upload(admin, b"id;text\n7;a\n8;b\n7;a\n8;other\n9;c\n", "a.csv")
    row = Import.objects.get()
    uploads.preview(row.pk)
    page = admin.get(f"/imports/{row.pk}/").content.decode()
    assert "<div><b>2</b><span>repeated in this file</span></div>" in page
    assert "Import 3 rows" in page
    for pair in ((4, 2), (5, 3)):
        assert '<tr><td class="num">{}</td><td class="num">{}</td></tr>'.format(*pair) in page
    uploads.confirm(row)
    uploads.apply(row.pk)
    row.refresh_from_db()
    counted = {name: row.report[name] for name in ("new", "unchanged", "refused", "repeated")}
    assert counted == {"new": 3, "unchanged": 1, "refused": 1, "repeated": 2}


def test_a_file_that_could_not_be_read_says_why(admin) -> None:
    upload(admin, b"id,id\n1,a\n", "a.csv")
    row = Import.objects.get()
    uploads.preview(row.pk)
    page = admin.get(f"/imports/{row.pk}/").content.decode()
    assert "▲ the first line names the column &#x27;id&#x27; twice" in page
    assert '<a href="/imports/">Upload the file again</a>' in page


def test_a_preview_says_until_when_its_file_is_kept_and_then_that_it_has_expired(admin) -> None:
    upload(admin)
    row = Import.objects.get()
    uploads.preview(row.pk)
    Import.objects.update(created_at=datetime(2026, 3, 1, 9, tzinfo=UTC))
    kept = "The file is kept until 2 Mar 2026 12:00."  # In Nairobi
    assert kept in admin.get(f"/imports/{row.pk}/").content.decode()
    uploads.clear_out()
    page = admin.get(f"/imports/{row.pk}/").content.decode()
    assert "The preview was not confirmed within 24 hours, so the file was removed. Nothing was imported." in page
    assert '<a href="/imports/">Upload the file again</a>' in page
    assert "Import 2 rows" not in page
    assert "<td>expired</td>" in admin.get("/imports/").content.decode()
    admin.post(f"/imports/{row.pk}/confirm/")
    assert "This file is not kept any more; upload it again." in admin.get("/imports/").content.decode()


def test_a_preview_warns_of_columns_and_offers_no_import_of_nothing(admin) -> None:
    upload(admin, b"id,text,urgency\n1,,1\n", "a.csv", mapping="urgency=priority\nsours=source")
    row = Import.objects.get()
    uploads.preview(row.pk)
    page = admin.get(f"/imports/{row.pk}/").content.decode()
    assert "◆ column &#x27;sours&#x27; was mapped to source, but the file has no such column" in page
    assert "◆ No row can be imported. The faults below say why; mend the file and upload it again." in page
    assert "Import 0 rows" not in page


def test_the_limits_of_a_file_are_stated_where_it_is_chosen(admin, settings) -> None:
    settings.IMPORT_MAX_BYTES = 2048
    page = admin.get("/imports/").content.decode().replace("\xa0", " ")
    assert (
        "At most 2.0 KB, 1,000,000 rows, 200,000 characters a text, 1,000,000 a row, and 20 levels of nesting." in page
    )
