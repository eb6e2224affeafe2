"""Taking cases out: what is in the file, who is told to have asked, and when it goes."""

from __future__ import annotations

import csv
import json
import os
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from huggingface_hub import DatasetCard

from ml import examples
from tests.conftest import case_named
from webapp.actions import export_files, imports, sweeping
from webapp.locks import only_one
from webapp.models import AuditEvent, Case, CaseState, CaseText, Export, ExportState, Schema
from webapp.roles import Role

LABELS = {
    "main_category": "VANE",
    "sub_category": "Child Neglect",
    "intervention": ["Counselling", "Referral"],
    "priority": "1",
    "entities": [{"start": 0, "end": 5, "label": "NAME"}],
    "call_quality": {"opening": {"phrase": True}, "hold": {"explains": None}},
}
ROW: dict[str, object] = {
    "id": "1", "text": "Amina is hungry.", "labels": LABELS, "source": "calls", "conversation": "c",
    "sent_at": "2026-03-01T12:00:00+00:00", "metadata": {"county": "Nyeri"},
}  # fmt: skip


@pytest.fixture
def admin(person: Callable[..., User], settings: Any, tmp_path: Path) -> User:
    settings.EXPORTS_DIR = tmp_path / "exports"
    return person(Role.ADMIN)


@pytest.fixture
def export(admin: User, helpline: Schema, sent: list[Any]) -> Callable[..., Export]:
    def run(format: str = "jsonl", **limits: str) -> Export:
        row = export_files.request(helpline, format, limits, by=admin)
        export_files.write(row.pk)
        row.refresh_from_db()
        return row

    return run


def ids_in(row: Export) -> list[str]:
    return [json.loads(line)["id"] for line in export_files.path_of(row).read_text().splitlines()]


def test_jsonl_holds_examples_that_can_be_read_again(helpline, import_rows, export) -> None:
    import_rows(helpline, ROW, {"id": "2", "text": "b"})
    row = export("jsonl")
    assert (row.state, row.total, row.done, row.failure) == ("done", 2, 2, "")
    assert row.bytes == export_files.path_of(row).stat().st_size
    first, second = examples.read(export_files.path_of(row), helpline.versions.get().parsed)
    assert (first.id, first.text, first.labels) == ("1", "Amina is hungry.", LABELS)
    assert (first.source, first.conversation, first.sent_at) == ("calls", "c", "2026-03-01T12:00:00+00:00")
    assert (first.metadata, second.labels) == ({"county": "Nyeri"}, {})


@pytest.mark.parametrize(("format", "suffix"), [("jsonl", ".jsonl"), ("csv", ".csv"), ("parquet", ".parquet")])
def test_what_was_taken_out_can_be_imported_as_it_was(helpline, import_rows, export, format, suffix) -> None:
    import_rows(helpline, ROW)
    path = export_files.path_of(export(format))
    assert path.suffix == suffix
    Case.objects.update(external_id="moved")
    row = imports.open_import(helpline, path, name=path.name, mapping={}, source="import", by=None)
    report = imports.apply(row, path)
    assert (report.new, report.faults, report.warnings) == (1, [], [])
    case = case_named("1")
    assert {label.head: label.answer for label in case.labels.all()} == LABELS
    assert (case.stored_text.text, case.source, case.conversation.external_id) == ("Amina is hungry.", "calls", "c")
    assert (case.sent_at.isoformat(), case.metadata) == ("2026-03-01T12:00:00+00:00", {"county": "Nyeri"})


def test_no_cell_of_a_csv_file_is_a_formula(helpline, import_rows, export) -> None:
    for number, start in enumerate("=+-@\t\r\n'"):
        row = {"id": f"{start}{number}", "text": f"{start}cmd|' /C calc'!A0", "source": f"{start}s"}
        import_rows(helpline, row, name=f"{number}.jsonl")
    with export_files.path_of(export("csv")).open(encoding="utf-8-sig", newline="") as file:
        header, *lines = list(csv.reader(file))
    assert header[:5] == ["id", "source", "conversation", "sent_at", "text"]
    assert len(lines) == 8
    for line in lines:
        assert all(cell[:1] not in tuple("=+-@\t\r\n") or not cell for cell in line), line
    assert lines[0][4] == "'=cmd|' /C calc'!A0"
    assert lines[7][4] == "'cmd|' /C calc'!A0"


def test_a_dataset_has_a_file_for_each_side_and_a_card_that_fits_them(helpline, import_rows, export, tmp_path) -> None:
    import_rows(helpline, *(ROW | {"id": str(number), "conversation": str(number)} for number in range(60)))
    path = export_files.path_of(export("dataset"))
    with zipfile.ZipFile(path) as file:
        file.extractall(tmp_path / "set")
    sides = sorted(set(Case.objects.values_list("side", flat=True)))
    assert len(sides) == 3
    about = DatasetCard((tmp_path / "set" / "README.md").read_text()).data.to_dict()
    (config,) = about["configs"]
    assert sorted(one["split"] for one in config["data_files"]) == sides
    assert about["task_categories"] == ["text-classification", "token-classification"]
    names = [feature["name"] for feature in about["dataset_info"]["features"]]
    for one in config["data_files"]:
        found = pq.read_table(tmp_path / "set" / one["path"])
        assert found.column_names == names
        expected = Case.objects.filter(side=one["split"]).order_by("pk").values_list("external_id", flat=True)
        assert found["id"].to_pylist() == list(expected)
        first = found.to_pylist()[0]
        assert (first["entities"], first["intervention"]) == (LABELS["entities"], LABELS["intervention"])
        assert json.loads(first["call_quality"]) == LABELS["call_quality"]
    assert [path.name for path in path.parent.iterdir()] == [path.name], "no parts are left"


def test_cases_are_chosen_by_state_source_and_time_of_arrival(helpline, import_rows, export) -> None:
    import_rows(helpline, ROW, {"id": "2", "text": "b"}, {"id": "3", "text": "c"})
    now = timezone.now()
    Case.objects.filter(external_id="3").update(received_at=now - timedelta(days=2))
    day = (now - timedelta(days=1)).isoformat()
    chosen = {
        "all": export(),
        "decided": export(state="decided"),
        "calls": export(source="calls"),
        "young": export(since=day),
        "old": export(before=day),
        "none": export(source="nowhere"),
    }
    assert {name: ids_in(row) for name, row in chosen.items()} == {
        "all": ["1", "2", "3"], "decided": ["1"], "calls": ["1"], "young": ["1", "2"], "old": ["3"], "none": [],
    }  # fmt: skip


def test_what_was_erased_is_never_in_it_and_what_was_withdrawn_only_if_asked_for(helpline, import_rows, export) -> None:
    import_rows(helpline, *({"id": str(number), "text": "a"} for number in range(4)))
    Case.objects.filter(external_id="0").update(state=CaseState.WITHDRAWN)
    Case.objects.filter(external_id="1").update(state=CaseState.ERASED)
    CaseText.objects.filter(case__external_id="2").delete()
    assert ids_in(export()) == ["3"]
    assert ids_in(export(state="withdrawn")) == ["0"]
    assert ids_in(export(state="erased")) == []


def test_what_is_erased_while_a_file_is_written_is_not_in_it(helpline, import_rows, export, monkeypatch) -> None:
    import_rows(helpline, *({"id": str(number), "text": "a"} for number in range(4)))
    monkeypatch.setattr(export_files, "CHUNK", 2)
    real = export_files._written

    def write_and_erase(*given: Any) -> Any:
        Case.objects.filter(external_id="3").update(state=CaseState.ERASED)
        return real(*given)

    monkeypatch.setattr(export_files, "_written", write_and_erase)
    assert ids_in(export()) == ["0", "1", "2"]


def test_files_go_when_a_case_of_the_schema_is_erased_even_those_half_written(
    helpline, import_rows, export, monkeypatch
) -> None:
    import_rows(helpline, {"id": "1", "text": "a"})
    done = export()
    export_files.remove_all(helpline)
    done.refresh_from_db()
    assert (done.state, export_files.path_of(done).exists()) == ("expired", False)
    real = export_files._written
    monkeypatch.setattr(export_files, "_written", lambda *given: export_files.remove_all(helpline) or real(*given))
    row = export()
    assert row.state == "expired"
    assert list(export_files.path_of(row).parent.iterdir()) == []


def test_who_asked_and_who_took_it_is_in_the_audit_log(helpline, import_rows, export, admin, person) -> None:
    import_rows(helpline, ROW)
    row = export("csv", state="decided", source="calls")
    (asked,) = AuditEvent.objects.filter(action="export asked for")
    assert (asked.actor, asked.subject) == (admin, f"export {row.pk}")
    assert asked.facts == {"schema": "helpline", "format": "csv", "cases": 1, "state": "decided"}
    other = person(Role.ADMIN, "other")
    export_files.take(row, by=other)
    (taken,) = AuditEvent.objects.filter(action="export taken")
    assert (taken.actor, taken.subject) == (other, f"export {row.pk}")


def test_files_are_for_nobody_else_on_the_machine(helpline, import_rows, export) -> None:
    import_rows(helpline, ROW)
    for format in ("jsonl", "csv", "parquet", "dataset"):
        path = export_files.path_of(export(format))
        assert (path.stat().st_mode & 0o077, path.parent.stat().st_mode & 0o777) == (0, 0o700), format


def test_a_worker_writes_it_and_a_second_does_nothing(
    helpline, admin, sent, django_capture_on_commit_callbacks
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        row = export_files.request(helpline, "csv", {}, by=admin)
        assert sent == []
    assert sent == [("write_export", row.pk)]
    export_files.write(row.pk)
    path = export_files.path_of(row)
    path.write_text("kept")
    export_files.write(row.pk)
    assert path.read_text() == "kept"


@pytest.mark.django_db(transaction=True)
def test_one_that_another_worker_is_at_is_left_to_it(admin, sent) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from django.db import connection

    from webapp.actions import schemas

    schemas.register_shipped()
    row = export_files.request(Schema.objects.get(name="helpline"), "csv", {}, by=admin)

    def run() -> None:
        export_files.write(row.pk)
        connection.close()

    with only_one(f"export {row.pk}"), ThreadPoolExecutor(1) as pool:
        pool.submit(run).result(10)
    row.refresh_from_db()
    assert row.state == ExportState.QUEUED


def test_one_that_fails_says_so_without_a_text(helpline, import_rows, admin, sent, monkeypatch) -> None:
    import_rows(helpline, ROW)

    def fail(case: dict[str, Any], *rest: Any) -> Any:
        raise ValueError(case["stored_text__text"])

    monkeypatch.setattr(export_files, "_written", fail)
    row = export_files.request(helpline, "parquet", {}, by=admin)
    with pytest.raises(ValueError, match="Amina"):
        export_files.write(row.pk)
    row.refresh_from_db()
    assert (row.state, row.failure) == ("failed", "ValueError while writing; the worker's log says where.")
    assert list(export_files.path_of(row).parent.iterdir()) == []


def test_the_sweep_sends_again_what_was_left_and_removes_what_is_a_week_old(
    helpline, import_rows, export, admin, sent
) -> None:
    import_rows(helpline, {"id": "1", "text": "a", "labels": LABELS})
    old, young = export(), export()
    left = export_files.request(helpline, "csv", {}, by=admin)
    Export.objects.filter(pk=old.pk).update(finished_at=timezone.now() - timedelta(days=7, minutes=1))
    Export.objects.filter(pk=left.pk).update(created_at=timezone.now() - timedelta(seconds=31))
    draft = export_files.path_of(left).with_name("writing-9.csv")
    draft.write_text("half")
    for path in (export_files.path_of(old), draft):
        os.utime(path, times=(time.time() - 7200,) * 2)
    sent.clear()
    sweeping.sweep()
    assert ("write_export", left.pk) in sent
    old.refresh_from_db()
    assert old.state == "expired"
    assert [path.name for path in draft.parent.iterdir()] == [f"{young.pk}.jsonl"]


@pytest.mark.parametrize("format", ["jsonl", "csv", "parquet", "dataset"])
def test_a_file_never_stands_in_memory_whole(helpline, import_rows, export, format, monkeypatch) -> None:
    monkeypatch.setattr(export_files, "CHUNK", 20)
    import_rows(helpline, *({"id": str(number), "text": "a" * 20_000} for number in range(400)))
    tracemalloc.start()
    row = export(format)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert row.done == 400
    assert peak < 400 * 20_000 / 2


# --- Pages -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def browser(admin: User) -> Client:
    client = Client()
    client.force_login(admin, backend="django.contrib.auth.backends.ModelBackend")
    return client


def test_a_file_is_asked_for_watched_and_downloaded(helpline, import_rows, browser, sent) -> None:
    import_rows(helpline, ROW)
    assert "Nothing was taken out yet." in browser.get("/exports/").content.decode()
    form = {"schema": "helpline", "format": "jsonl", "since": "2026-03-01", "before": "2100-01-01"}
    answer = browser.post("/exports/", form)
    row = Export.objects.get()
    assert answer["Location"] == f"/exports/{row.pk}/"
    assert row.limits == {"since": "2026-03-01T00:00:00+03:00", "before": "2100-01-01T00:00:00+03:00"}
    assert "A worker begins soon…" in browser.get(f"/exports/{row.pk}/").content.decode()
    Export.objects.update(state=ExportState.RUNNING, done=7, total=9)
    middle = browser.get(f"/exports/{row.pk}/", headers={"HX-Request": "true"}).content.decode()
    assert middle.lstrip().startswith('<div id="progress" hx-get=')
    assert "Writing… 7 of 9 cases" in middle
    assert browser.get(f"/exports/{row.pk}/file/").status_code == 302
    export_files.write(row.pk)
    assert "Download" in browser.get(f"/exports/{row.pk}/").content.decode()
    file = browser.get(f"/exports/{row.pk}/file/")
    assert file["Content-Disposition"] == f'attachment; filename="helpline-{row.pk}.jsonl"'
    assert "no-store" in file["Cache-Control"]
    assert json.loads(b"".join(file.streaming_content))["id"] == "1"


@pytest.mark.parametrize("form", [{"format": "exe"}, {"schema": "weather"}, {"state": "erased"}, {"since": "soon"}])
def test_a_form_that_cannot_be_taken_asks_for_nothing(helpline, browser, form) -> None:
    answer = browser.post("/exports/", {"schema": "helpline", "format": "csv"} | form)
    assert (answer.status_code, list(Export.objects.all())) == (422, [])
