"""Uploaded files, from the browser to the worker."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Event

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.utils import timezone

from tests.conftest import case_named
from webapp.actions import sweeping, uploads
from webapp.errors import UnreadableFile
from webapp.locks import only_one
from webapp.models import Case, Import, ImportState
from webapp.roles import Role

GOOD = b'{"id": "1", "text": "She is hungry.", "priority": "1"}\n'


@pytest.fixture
def folder(settings, tmp_path) -> Path:
    settings.IMPORTS_DIR = tmp_path / "imports"
    return settings.IMPORTS_DIR


@pytest.fixture
def upload(helpline, person, folder) -> Callable[..., Import]:
    admin = person(Role.ADMIN)

    def receive(content: bytes = GOOD, name: str = "march.jsonl", **changes) -> Import:
        values = {"mapping": {}, "source": "calls", "by": admin} | changes
        return uploads.receive(SimpleUploadedFile(name, content), helpline, **values)

    return receive


def test_an_uploaded_file_is_kept_and_previewed_by_a_worker(
    upload, folder, sent, django_capture_on_commit_callbacks
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        row = upload(mapping={"a": "-"})
        assert sent == []
    assert sent == [("preview_import", row.pk)]
    assert [path.name for path in folder.iterdir()] == [f"{row.pk}.jsonl"]
    assert uploads.path_of(row).read_bytes() == GOOD
    assert folder.stat().st_mode & 0o777 == 0o700
    row.refresh_from_db()
    assert (row.name, row.source, row.mapping, row.state) == ("march.jsonl", "calls", {"a": "-"}, "previewed")
    assert row.digest == "e53c8b25185e89b5b28ee9da4520113e1519462491733ca6cfdc9ec2bcf9e899"


@pytest.mark.parametrize("name", ["cases.xls", "cases", "cases.jsonl.exe", ".csv"])
def test_a_file_of_another_kind_is_refused_and_not_kept(upload, folder, name) -> None:
    with pytest.raises(UnreadableFile, match=r"expected one of \.jsonl, \.ndjson, \.json, \.csv, \.xlsx, \.parquet$"):
        upload(name=name)
    assert (list(Import.objects.all()), folder.exists()) == ([], False)


def test_a_file_that_is_too_large_is_refused_and_not_kept(upload, folder, settings) -> None:
    settings.IMPORT_MAX_BYTES = len(GOOD) - 1
    with pytest.raises(UnreadableFile, match=r"^the file has 55 bytes; expected at most 54: split it$"):
        upload()
    assert (list(Import.objects.all()), folder.exists()) == ([], False)


def test_a_path_in_the_name_of_a_file_leads_nowhere(upload, folder) -> None:
    row = upload(name="../../etc/cases.csv", content=b"id,text\n1,a\n")
    assert row.name == "cases.csv"
    assert [path.name for path in folder.iterdir()] == [f"{row.pk}.csv"]


def test_a_file_with_a_very_long_name_can_be_imported(upload, sent) -> None:
    row = upload(name="a" * 240 + ".jsonl")
    uploads.confirm(row)
    uploads.apply(row.pk)
    assert case_named("1").stored_text.text == "She is hungry."


def test_a_preview_is_made_once(upload) -> None:
    row = upload()
    uploads.preview(row.pk)
    row.refresh_from_db()
    assert (row.state, row.report["good"], row.report["labelled"]) == ("previewed", 1, {"priority": 1})
    uploads.path_of(row).write_bytes(b"changed")
    uploads.preview(row.pk)
    row.refresh_from_db()
    assert row.report["good"] == 1


def test_a_file_that_cannot_be_read_fails_in_the_preview_and_is_not_kept(upload, folder) -> None:
    row = upload(content=b"id,a,a\n1,b,c\n", name="cases.csv")
    uploads.preview(row.pk)
    row.refresh_from_db()
    expected = "the first line names the column 'a' twice; expected each name once: rename one"
    assert (row.state, row.failure) == ("failed", expected)
    assert list(folder.iterdir()) == []


def test_a_mapping_to_a_field_that_does_not_exist_fails_in_the_preview(upload) -> None:
    row = upload(mapping={"a": "mood"})
    uploads.preview(row.pk)
    row.refresh_from_db()
    assert row.state == "failed"
    assert row.failure.startswith("column 'a' is mapped to 'mood'; expected one of id, text")


def test_files_that_arrive_have_names_that_no_other_gets(upload, folder, monkeypatch) -> None:
    seen: list[str] = []

    class Slow(SimpleUploadedFile):
        def chunks(self, chunk_size=None):
            seen.extend(path.name for path in folder.iterdir())
            return super().chunks(chunk_size)

    monkeypatch.setattr("tests.test_uploads.SimpleUploadedFile", Slow)
    upload()
    upload()
    first, second = (name for name in seen if name.startswith("arriving-"))
    assert re.fullmatch(r"arriving-[0-9a-f]{32}\.jsonl", first)
    assert first != second


def test_a_preview_that_nobody_confirmed_expires_and_its_file_goes(upload, folder) -> None:
    row, younger = upload(), upload()
    uploads.preview(row.pk)
    change_age(row, timedelta(hours=24, seconds=1), folder)
    change_age(younger, timedelta(hours=23), folder)
    sweeping.sweep()
    row.refresh_from_db()
    younger.refresh_from_db()
    assert (row.state, younger.state) == (ImportState.EXPIRED, ImportState.PREVIEWED)
    assert [path.name for path in folder.iterdir()] == [f"{younger.pk}.jsonl"]
    assert uploads.confirm(row) is False


@pytest.mark.parametrize("state", [ImportState.QUEUED, ImportState.RUNNING])
def test_a_file_that_was_confirmed_is_kept_however_old(upload, folder, sent, state) -> None:
    row = upload()
    Import.objects.update(state=state)
    change_age(row, timedelta(days=3), folder)
    sweeping.sweep()
    assert (Import.objects.get().state, uploads.path_of(row).exists()) == (state, True)


def test_what_half_arrived_or_was_left_by_a_worker_that_died_goes_after_an_hour(upload, folder) -> None:
    row = upload()
    Import.objects.update(state=ImportState.DONE)
    change_age(row, timedelta(minutes=61), folder)
    for name, minutes in (("arriving-1.csv", 61), ("arriving-2.csv", 59)):
        (folder / name).write_bytes(GOOD)
        moment = (timezone.now() - timedelta(minutes=minutes)).timestamp()
        os.utime(folder / name, (moment, moment))
    sweeping.sweep()
    assert [path.name for path in folder.iterdir()] == ["arriving-2.csv"]


def change_age(row: Import, age: timedelta, folder: Path) -> None:
    """Make an upload look as old as that, in its row and on the disk."""
    Import.objects.filter(pk=row.pk).update(created_at=timezone.now() - age)
    moment = (timezone.now() - age).timestamp()
    os.utime(uploads.path_of(row), (moment, moment))


def test_a_file_is_imported_only_once_however_often_it_is_confirmed(
    upload, sent, django_capture_on_commit_callbacks
) -> None:
    row = upload()
    with django_capture_on_commit_callbacks(execute=True):
        assert [uploads.confirm(row), uploads.confirm(row)] == [True, False]
    assert sent == [("apply_import", row.pk)]


def test_a_confirmed_file_is_imported_predicted_and_removed(upload, folder, sent, helpline) -> None:
    row = upload()
    uploads.confirm(row)
    uploads.apply(row.pk)
    row.refresh_from_db()
    assert (row.state, row.report["new"], list(folder.iterdir())) == (ImportState.DONE, 1, [])
    assert (case_named("1").source, case_named("1").labels.get().answer) == ("calls", "1")
    assert sent == [("predict_cases", helpline.pk)]


def test_an_import_that_is_delivered_twice_happens_once(upload, sent, helpline) -> None:
    row = upload()
    uploads.confirm(row)
    uploads.apply(row.pk)
    row.refresh_from_db()
    uploads.apply(row.pk)
    again = Import.objects.get()
    assert (again.report, again.finished_at, Case.objects.count()) == (row.report, row.finished_at, 1)
    assert sent == [("predict_cases", helpline.pk)]


def test_a_file_that_was_not_confirmed_is_not_imported(upload) -> None:
    row = upload()
    uploads.apply(row.pk)
    assert list(Case.objects.all()) == []


def test_an_import_whose_worker_died_begins_again(upload, sent) -> None:
    row = upload()
    Import.objects.update(state=ImportState.RUNNING)
    uploads.apply(row.pk)
    assert (Import.objects.get().state, case_named("1").labels.get().answer) == ("done", "1")


def test_an_import_whose_file_is_gone_fails_with_the_reason(upload, sent) -> None:
    row = upload()
    uploads.confirm(row)
    uploads.path_of(row).unlink()
    uploads.apply(row.pk)
    row.refresh_from_db()
    assert (row.state, row.failure) == ("failed", "the file is not kept any more; import it again")


def test_an_import_that_another_worker_is_at_is_left_to_it(upload, sent) -> None:
    row = upload()
    uploads.confirm(row)
    is_held, may_go = Event(), Event()

    def other_worker() -> None:
        with only_one(f"import {row.pk}"):
            is_held.set()
            may_go.wait(5)
        connection.close()

    with ThreadPoolExecutor(1) as threads:
        threads.submit(other_worker)
        is_held.wait(5)
        uploads.apply(row.pk)
        assert (Import.objects.get().state, sent, list(Case.objects.all())) == ("queued", [], [])
        may_go.set()
    uploads.apply(row.pk)
    assert Import.objects.get().state == "done"
