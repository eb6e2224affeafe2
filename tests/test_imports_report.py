"""What an import says of a file beside its cases, and what it asks the database."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.conftest import case_named
from tests.importing import import_file
from webapp.models import Annotation, Case, Import


def test_a_file_that_is_known_is_looked_up_at_once_and_not_row_by_row(helpline, import_rows) -> None:
    def queries_for(count: int) -> int:
        rows = [{"id": str(number), "text": "a", "priority": "1"} for number in range(count)]
        import_rows(helpline, *rows)
        with CaptureQueriesContext(connection) as queries:
            assert import_rows(helpline, *rows).unchanged == count
        return len(queries)

    assert queries_for(2) == queries_for(40)


def test_the_newest_import_of_a_head_is_what_a_row_is_compared_with(helpline, import_rows) -> None:
    for priority in ("1", "2", "1"):
        assert import_rows(helpline, {"id": "1", "text": "a", "priority": priority}).unchanged == 0
    assert import_rows(helpline, {"id": "1", "text": "a", "priority": "1"}).unchanged == 1
    assert Annotation.objects.count() == 3


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_rows_that_are_not_utf_8_are_left_out_and_the_rest_is_imported(helpline, tmp_path, suffix) -> None:
    path = tmp_path / f"cases.{suffix}"
    if suffix == "csv":
        path.write_bytes(b"id,text\n1,before\n2,caf\xe9\n3,after\n")
    else:
        path.write_bytes(
            b'{"id": "0", "text": "a"}\n{"id": "1", "text": "b"}\n{"text": "caf\xe9"}\n{"id": "3", "text": "c"}\n'
        )
    report = import_file(path, helpline)
    assert set(Case.objects.values_list("external_id", flat=True)) >= {"1", "3"}
    (fault,) = report.faults
    assert fault["row"] == 3
    assert fault["message"].startswith("the row is not UTF-8; the rest of the file was read")
    assert report.refused == 1


def test_a_second_column_for_a_head_reaches_neither_labels_nor_metadata(helpline, import_rows) -> None:
    report = import_rows(helpline, {"id": "1", "text": "a", "priority": "1", "Priority": "3", "county": "Meru"})
    case = case_named("1")
    assert (case.labels.get().answer, case.metadata) == ("1", {"county": "Meru"})
    assert report.warnings == ["column 'Priority' is a duplicate of priority; its values were left out"]
    assert Import.objects.get().report["warnings"] == report.warnings


def test_of_very_many_unknown_labels_the_first_are_kept_and_the_others_counted(
    helpline, import_rows, monkeypatch
) -> None:
    monkeypatch.setattr("webapp.casefiles.report.MOST_UNKNOWN_KEPT", 2)
    rows = [{"id": str(n), "text": "a", "priority": label} for n, label in enumerate(["x", "y", "z", "x", "w"])]
    report = import_rows(helpline, *rows)
    assert (report.as_json()["unknown_labels"], report.unknown_in_rest) == ({"priority": {"x": 2, "y": 1}}, 2)


def test_a_very_long_name_of_a_head_is_not_in_the_report(helpline, import_rows) -> None:
    report = import_rows(helpline, {"id": "1", "text": "a", "labels": {"x" * 100_000: 1}})
    (fault,) = report.faults
    assert fault["message"].startswith("a text of 100,000 characters is not a head of the schema helpline")
    assert len(str(report.as_json())) < 5000
