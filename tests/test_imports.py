"""Importing files: what becomes of good rows, of faulty ones and of audits."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from django.utils import timezone

from ml.policy import Side
from tests.conftest import DATA, case_named, change_policy
from tests.importing import LABELLED, import_file
from webapp.actions import imports
from webapp.errors import UnreadableFile
from webapp.models import Annotation, AnnotatorKind, AuditEvent, Case, CaseState, CaseText, Import, Label, Schema


def test_a_labelled_row_becomes_a_decided_case_with_an_annotation_of_the_import(helpline, import_rows) -> None:
    import_rows(helpline, LABELLED | {"county": "Meru", "victim": {"age": 2}}, name="march.jsonl")
    case = Case.objects.get(source="import", external_id="1")
    assert case.stored_text.text == "A neighbour leaves her baby alone."
    assert (case.state, case.is_audit, case.text_length) == (CaseState.DECIDED, False, 34)
    assert case.metadata == {"county": "Meru", "victim": {"age": 2}}
    annotation = case.annotations.get()
    answers = {"main_category": "VANE", "sub_category": "Child Neglect", "priority": "1"}
    assert (annotation.origin, annotation.answers) == ("import", answers)
    row = Import.objects.get()
    assert (annotation.annotator.kind, annotation.annotator.name) == (
        AnnotatorKind.IMPORT,
        f"import {row.pk}: march.jsonl",
    )
    assert annotation.annotator.imported_by == row
    labels = {label.head: (label.answer, label.rule, label.annotation) for label in case.labels.all()}
    assert labels == {head: (answer, "import", annotation) for head, answer in answers.items()}


def test_a_row_without_labels_waits_to_be_predicted_and_makes_no_annotator(helpline, import_rows) -> None:
    import_rows(helpline, {"id": "1", "text": "Hello?"})
    assert case_named("1").state == CaseState.NEW
    assert annotations_and_annotators() == (0, 0)


def test_a_row_with_labels_of_some_heads_waits_for_the_others(helpline, import_rows) -> None:
    import_rows(helpline, {"id": "1", "text": "Hello?", "priority": "2"})
    assert case_named("1").state == CaseState.NEW
    assert Label.objects.get().answer == "2"


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv"])
def test_every_kind_of_file_gives_the_same_cases(helpline, tmp_path, suffix) -> None:
    rows = [LABELLED, {"id": "2", "text": "=SUM(A1), she said\nand cried", "main_category": "GBV"}]
    path = tmp_path / f"cases.{suffix}"
    path.write_text(written(rows, suffix), encoding="utf-8", newline="")
    report = import_file(path, helpline)
    assert (report.rows, report.good, report.new, report.faults) == (2, 2, 2, [])
    assert [(text.case.external_id, text.text) for text in CaseText.objects.order_by("pk")] == [
        ("1", "A neighbour leaves her baby alone."),
        ("2", "=SUM(A1), she said\nand cried"),
    ]
    assert list(Label.objects.order_by("case", "head").values_list("head", "answer")) == [
        ("main_category", "VANE"),
        ("priority", "1"),
        ("sub_category", "Child Neglect"),
        ("main_category", "GBV"),
    ]


def test_a_mapping_names_the_columns_that_are_not_recognised(helpline, tmp_path) -> None:
    path = tmp_path / "cases.csv"
    path.write_text("ref,summary,urgency,agent\n7,She asks for help.,Critical,Otieno\n")
    mapping = {"ref": "id", "summary": "text", "urgency": "priority", "agent": "-"}
    report = import_file(path, helpline, mapping=mapping)
    case = case_named("7")
    assert case.stored_text.text == "She asks for help."
    assert case.labels.get().answer == "1"
    assert case.metadata == {}
    assert report.columns == mapping


def test_unknown_labels_are_counted_by_head_and_the_rest_of_the_row_is_kept(helpline, import_rows) -> None:
    report = import_rows(
        helpline,
        {"id": "1", "text": "a", "main_category": "Weather", "priority": "3"},
        {"id": "2", "text": "b", "main_category": "Weather", "intervention": "Counselling, Prayer"},
        {"id": "3", "text": "c", "main_category": "Vayne"},
    )
    found = report.as_json()
    assert found["unknown_labels"] == {"main_category": {"Weather": 2, "Vayne": 1}, "intervention": {"Prayer": 1}}
    assert (found["rows"], found["good"], found["new"], found["faulty"], found["refused"]) == (3, 3, 3, 3, 0)
    assert found["faults"][-1] == {
        "row": 3,
        "field": "main_category",
        "message": "main_category has the unknown label 'Vayne'; the nearest known label is 'VANE'",
    }
    assert list(Label.objects.values_list("case__external_id", "head", "answer")) == [("1", "priority", "3")]
    assert Import.objects.get().report == json.loads(json.dumps(found))


def test_a_faulty_row_is_named_and_the_others_are_imported(helpline, tmp_path) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_bytes(b'{"id": "1", "text": "a"}\n{"id": "2"\n{"id": "3"}\n["x"]\n{"id": "5", "text": "e"}\n')
    report = import_file(path, helpline)
    assert sorted(Case.objects.values_list("external_id", flat=True)) == ["1", "5"]
    assert [(fault["row"], fault["field"]) for fault in report.faults] == [(2, ""), (3, "text"), (4, "")]
    assert (report.rows, report.good, report.new, report.refused, report.faults_in_all) == (5, 2, 2, 3, 3)


def test_of_very_many_faults_the_first_are_kept_and_all_are_counted(helpline, import_rows, monkeypatch) -> None:
    monkeypatch.setattr("webapp.casefiles.report.MOST_FAULTS_KEPT", 2)
    report = import_rows(helpline, *({"id": str(n), "text": "a", "priority": "x"} for n in range(5)))
    assert ([fault["row"] for fault in report.faults], report.faults_in_all) == ([1, 2], 5)
    assert report.unknown_labels["priority"] == {"x": 5}


def test_what_no_database_takes_is_imported_without_it(helpline, tmp_path) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_text('{"id": "a\\u0000", "text": "x\\u0000y \\ud83d", "k\\u0000": ["\\u0000", NaN, "\\udc00"]}\n')
    import_file(path, helpline)
    case = case_named("a")
    assert (case.stored_text.text, case.metadata) == ("xy \ufffd", {"k": ["", None, "\ufffd"]})


def test_an_unknown_label_with_characters_that_no_database_takes_is_reported(helpline, tmp_path) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_text('{"id": "1", "text": "a", "priority": "\\u0000now\\ud800"}\n')
    assert import_file(path, helpline).as_json()["unknown_labels"] == {"priority": {"now\ufffd": 1}}
    assert Import.objects.get().report["unknown_labels"] == {"priority": {"now\ufffd": 1}}


@pytest.mark.parametrize("column", ["id", "source", "conversation"])
def test_a_name_that_no_table_holds_is_left_out_and_the_others_are_imported(helpline, import_rows, column) -> None:
    report = import_rows(helpline, {"text": "a", column: "x" * 300}, {"id": "2", "text": "b"})
    assert list(Case.objects.values_list("external_id", flat=True)) == ["2"]
    assert [(fault["row"], fault["field"]) for fault in report.faults] == [(1, column)]


def test_a_file_with_a_very_long_name_is_imported(helpline, import_rows) -> None:
    import_rows(helpline, LABELLED, name="a" * 240 + ".jsonl")
    assert case_named("1").state == CaseState.DECIDED
    assert Import.objects.get().name == "a" * 194 + ".jsonl"


# --- Audit -----------------------------------------------------------------------------------------------------------


def test_audited_rows_wait_for_people_although_they_came_with_labels(helpline, import_rows) -> None:
    change_policy(helpline, audit_share=1.0)
    report = import_rows(helpline, LABELLED)
    case = case_named("1")
    assert (case.is_audit, case.state, case.side) == (True, CaseState.NEW, Side.TEST)
    assert case.labels.get(head="priority").rule == "import"
    assert report.audited == 1


def test_labels_that_come_later_do_not_decide_an_audited_case(helpline, import_rows) -> None:
    change_policy(helpline, audit_share=1.0)
    import_rows(helpline, {"id": "1", "text": LABELLED["text"]})
    import_rows(helpline, LABELLED)
    assert case_named("1").state == CaseState.NEW


def test_the_draw_depends_on_the_secret_salt(helpline, import_rows) -> None:
    change_policy(helpline, audit_share=0.5)
    drawn = []
    for salt in ("a", "b"):
        Schema.objects.filter(pk=helpline.pk).update(audit_salt=salt)
        helpline.refresh_from_db()
        import_rows(helpline, *({"id": f"{n}", "source": salt, "text": "t"} for n in range(40)))
        drawn.append(set(Case.objects.filter(source=salt, is_audit=True).values_list("external_id", flat=True)))
    assert drawn[0] != drawn[1]
    assert all(8 <= len(ids) <= 32 for ids in drawn)


# --- Preview and failure ---------------------------------------------------------------------------------------------


def test_a_preview_reports_and_writes_no_case(helpline, tmp_path) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_text(json.dumps(LABELLED) + '\n{"id": "2", "text": "b", "priority": "9"}\n{}\n')
    row = imports.open_import(helpline, path, name=path.name, mapping={}, source="", by=None)
    report = imports.preview(row, path).as_json()
    row.refresh_from_db()
    found = {key: report[key] for key in ("rows", "good", "new", "faulty", "refused", "labelled", "unknown_labels")}
    assert found == {
        "rows": 3,
        "good": 2,
        "new": 0,
        "faulty": 2,
        "refused": 1,
        "labelled": {"main_category": 1, "sub_category": 1, "priority": 1},
        "unknown_labels": {"priority": {"9": 1}},
    }
    assert (row.state, row.source, list(Case.objects.all())) == ("previewed", "import", [])


def test_a_file_that_cannot_be_read_leaves_a_failed_import_that_says_why(helpline, tmp_path) -> None:
    path = tmp_path / "cases.csv"
    path.write_bytes(b"id,a,a\n1,b,c\n")
    with pytest.raises(UnreadableFile):
        import_file(path, helpline)
    row = Import.objects.get()
    expected = "the first line names the column 'a' twice; expected each name once: rename one"
    assert (row.state, row.failure) == ("failed", expected)
    assert row.finished_at <= timezone.now()


def test_the_rows_before_a_break_are_imported(helpline, tmp_path) -> None:
    path = tmp_path / "cases.csv"
    path.write_bytes(b'id,text\n1,good\n2,"never closed\n')
    with pytest.raises(UnreadableFile):
        import_file(path, helpline)
    assert case_named("1").stored_text.text == "good"
    assert Import.objects.get().report["new"] == 1


def test_every_import_is_in_the_audit_log_without_a_text(helpline, import_rows, person) -> None:
    import_rows(helpline, LABELLED)
    row = Import.objects.get()
    assert list(
        AuditEvent.objects.filter(subject__startswith="import").order_by("pk").values_list("action", "subject", "facts")
    ) == [
        ("import opened", f"import {row.pk}", {"bytes": 122}),
        ("import done", f"import {row.pk}", {"new": 1, "refused": 0}),
    ]


# --- Real files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "cases", "labelled"),
    [
        (
            "helpline_cases.jsonl",
            511,
            {"main_category": 511, "sub_category": 511, "intervention": 511, "priority": 511},
        ),
        ("helpline_ner.jsonl", None, None),
    ],
)
def test_real_exports_are_imported_without_an_unknown_label(helpline, name, cases, labelled) -> None:
    if not (DATA / name).exists():
        pytest.skip(f"{DATA / name} is missing; the tests on real exports need it")
    report = import_file(DATA / name, helpline)
    assert report.as_json()["unknown_labels"] == {}
    assert report.new == Case.objects.count()
    if cases is not None:
        assert (report.new, report.faults, dict(report.labelled)) == (cases, [], labelled)


# --------------------------------------------------------------------------------------------------------------------


def annotations_and_annotators() -> tuple[int, int]:
    from webapp.models import Annotator

    return Annotation.objects.count(), Annotator.objects.count()


def written(rows: list[dict[str, Any]], suffix: str) -> str:
    if suffix == "jsonl":
        return "\n".join(json.dumps(row) for row in rows)
    if suffix == "json":
        return json.dumps(rows, indent=2)
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
