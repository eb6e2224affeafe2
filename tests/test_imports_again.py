"""Importing what is known: a file that comes a second time, corrected labels, ids and conversations met before."""

from __future__ import annotations

import json
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, get_ident
from typing import Any

import pytest
from django.apps import apps
from django.db import connection

from ml.types import Example
from tests.conftest import (
    annotator_named,
    case_named,
    helpline_prediction,
    predict,
    submission,
    trained_version,
)
from tests.importing import LABELLED
from webapp.actions import cases, imports, reviews, submissions
from webapp.casefiles.report import Report
from webapp.models import Annotation, AuditEvent, Case, CaseState, Conversation, Import, Label, Schema
from webapp.roles import Role


def counts_of_all_tables() -> dict[str, int]:
    """Rows of every table of ours, but for those that say that an import happened."""
    models = [model for model in apps.get_app_config("webapp").get_models() if model not in (Import, AuditEvent)]
    return {model.__name__: model.objects.count() for model in models}


def test_the_same_file_a_second_time_changes_nothing(helpline, import_rows) -> None:
    rows = [
        LABELLED,
        {"id": "2", "text": "b", "conversation": "c-1", "priority": "2"},
        {"text": "a text without an id", "labels": {"intervention": ["Referral"]}},
        {"text": "the same text with two labels", "priority": "1"},
        {"text": "the same text with two labels", "priority": "2"},
        {"id": "2", "text": "another text"},
        {"id": "3", "text": "unlabelled"},
        {"id": "3", "text": "unlabelled"},
    ]
    first = import_rows(helpline, *rows)
    before = counts_of_all_tables(), list(Label.objects.order_by("pk").values())
    assert before[0]["Case"] == 5
    second = import_rows(helpline, *rows)
    assert (counts_of_all_tables(), list(Label.objects.order_by("pk").values())) == before
    assert (first.new, first.relabelled, first.unchanged, first.refused) == (5, 0, 1, 2)
    assert (second.new, second.relabelled, second.unchanged, second.refused) == (0, 0, 6, 2)
    assert second.faults == first.faults


def test_a_file_longer_than_a_chunk_is_imported_once(helpline, import_rows, monkeypatch) -> None:
    monkeypatch.setattr(imports, "CHUNK", 2)
    rows = [{"id": str(n % 5), "text": f"text {n % 5}", "priority": "1" if n < 5 else "2"} for n in range(7)]
    report = import_rows(helpline, *rows)
    assert (report.new, report.relabelled, report.unchanged, report.refused) == (5, 0, 0, 2)
    assert set(Label.objects.values_list("answer", flat=True)) == {"1"}


def test_rows_of_one_file_that_contradict_each_other_are_reported(helpline, import_rows) -> None:
    report = import_rows(helpline, LABELLED, LABELLED | {"priority": "3"})
    assert case_named("1").labels.get(head="priority").answer == "1"
    assert report.faults == [
        {"row": 2, "field": "id", "message": "id 1 stands in this file twice, with other labels; the row was left out"}
    ]


def test_corrected_labels_make_a_new_annotation_and_keep_the_old_one(helpline, import_rows) -> None:
    import_rows(helpline, LABELLED)
    report = import_rows(helpline, LABELLED | {"priority": "2"})
    old, new = Annotation.objects.order_by("pk")
    assert (old.answers["priority"], new.answers["priority"]) == ("1", "2")
    label = case_named("1").labels.get(head="priority")
    assert (label.answer, label.annotation, label.rule) == ("2", new, "import")
    assert (report.new, report.relabelled, report.unchanged) == (0, 1, 0)
    assert report.labelled == {"main_category": 1, "sub_category": 1, "priority": 1}


def test_corrected_labels_of_an_import_do_not_replace_what_a_person_decided(helpline, import_rows, person) -> None:
    import_rows(helpline, LABELLED)
    said = {"main_category": "GBV", "sub_category": "Sexual Violence", "priority": "2"}
    reviews.decide(case_named("1"), person(Role.SUPERVISOR), answers=said, revision=0)
    import_rows(helpline, LABELLED | {"priority": "3", "intervention": "Referral"})
    labels = {label.head: (label.answer, label.rule) for label in case_named("1").labels.all()}
    assert labels == {
        "main_category": ("GBV", "review"),
        "sub_category": ("Sexual Violence", "review"),
        "priority": ("2", "review"),
        "intervention": (["Referral"], "import"),
    }
    assert Annotation.objects.filter(origin="import").count() == 2


def test_corrected_labels_of_an_import_leave_a_disputed_head_without_a_label(helpline, import_rows) -> None:
    import_rows(helpline, {"id": "1", "text": "a"})
    for number, answer in enumerate(["1", "2"]):
        said = submission(helpline, f"annotator {number}", {"priority": answer}, id=number)
        submissions.record(case_named("1"), said)
    import_rows(helpline, {"id": "1", "text": "a", "priority": "3"})
    case = case_named("1")
    assert list(case.labels.all()) == []
    assert case.state == CaseState.REVIEW
    assert annotator_named("annotator 0").annotations.get().answers == {"priority": "1"}


def test_a_file_does_not_decide_what_a_supervisor_sent_back(helpline, import_rows, person) -> None:
    import_rows(helpline, {"id": "1", "text": LABELLED["text"]})
    case = predict(trained_version(helpline), "1", helpline_prediction(urgent=0.31))
    reviews.send_back(case, person(Role.SUPERVISOR), revision=case.revision, note="listen to the end")
    import_rows(helpline, LABELLED)
    found = case_named("1")
    assert (found.state, found.labels.count()) == (CaseState.LABELLING, 3)


def test_the_same_id_with_another_text_is_refused_and_reported(helpline, import_rows) -> None:
    import_rows(helpline, LABELLED)
    report = import_rows(helpline, LABELLED | {"text": "Another text.", "priority": "3"})
    assert case_named("1").stored_text.text == "A neighbour leaves her baby alone."
    assert case_named("1").labels.get(head="priority").answer == "1"
    assert report.faults == [
        {"row": 1, "field": "id", "message": "id 1 is known with another text; the row was left out"}
    ]
    assert (report.good, report.refused, report.faulty) == (0, 1, 1)


def test_the_same_id_from_another_source_is_another_case(helpline, import_rows) -> None:
    import_rows(helpline, LABELLED, LABELLED | {"source": "whatsapp", "text": "Another text."})
    assert sorted(Case.objects.values_list("source", "external_id")) == [("import", "1"), ("whatsapp", "1")]


def test_a_case_of_another_schema_is_refused_and_reported(helpline, import_rows) -> None:
    import_rows(helpline, {"id": "1", "text": "I want to buy it now"})
    customer = Schema.objects.get(name="customer")
    report = import_rows(customer, {"id": "1", "text": "I want to buy it now", "tags": "Hot-buyer"})
    assert report.faults == [
        {"row": 1, "field": "id", "message": "id 1 is known as a case of helpline; the row was left out"}
    ]
    assert (report.good, report.refused, list(Label.objects.all())) == (0, 1, [])


def test_messages_of_one_conversation_belong_together(helpline, import_rows) -> None:
    rows = [{"id": str(n), "text": f"m{n}", "conversation": "c", "sent_at": f"2026-01-0{n}"} for n in (1, 2)]
    import_rows(helpline, *rows, {"id": "3", "text": "m3", "conversation": "c", "source": "other"})
    assert list(Conversation.objects.order_by("pk").values_list("source", "external_id")) == [
        ("import", "c"),
        ("other", "c"),
    ]
    assert case_named("1").conversation == case_named("2").conversation != case_named("3").conversation


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2026-02-03T04:05:06Z", "2026-02-03T04:05:06+00:00"),
        ("2026-02-03 04:05", "2026-02-03T04:05:00+00:00"),
        ("2026-02-03T04:05:06+03:00", "2026-02-03T01:05:06+00:00"),
        ("2026-02-31T00:00:00", None),
        ("yesterday", None),
    ],
)
def test_the_time_of_a_message_is_read_where_it_can_be(helpline, import_rows, written, moment) -> None:
    import_rows(helpline, {"id": "1", "text": "a", "timestamp": written})
    found = case_named("1").sent_at
    assert (found and found.isoformat()) == moment


def test_a_case_that_moved_on_while_a_file_was_read_is_judged_as_it_is_now(helpline, import_rows, monkeypatch) -> None:
    import_rows(helpline, {"id": "1", "text": "a"})
    known = cases.known

    def moved_on(keys: Any) -> Any:
        found = known(keys)
        Case.objects.update(state=CaseState.REVIEW)
        return found

    monkeypatch.setattr(cases, "known", moved_on)
    import_rows(helpline, LABELLED | {"text": "a"})
    assert case_named("1").labels.exists()
    assert case_named("1").state == CaseState.REVIEW


@pytest.mark.django_db(transaction=True)
def test_two_imports_of_the_same_cases_at_once_both_end_well(helpline, tmp_path, monkeypatch, sent) -> None:
    both = Barrier(2, timeout=20)
    known, have_met = cases.known, set()

    def at_once(keys: Any) -> Any:
        found = known(keys)
        if get_ident() not in have_met:
            have_met.add(get_ident())
            both.wait()
        return found

    monkeypatch.setattr(cases, "known", at_once)
    path = tmp_path / "cases.jsonl"
    rows = [LABELLED, {"id": "2", "text": "b", "priority": "2"}, {"id": "2", "text": "other"}, {"id": "3", "text": "c"}]
    path.write_text("\n".join(map(json.dumps, rows)))

    def run(number: int) -> Report:
        try:
            row = imports.open_import(helpline, path, name=f"{number}.jsonl", mapping={}, source="import", by=None)
            return imports.apply(row, path)
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(run, range(2)))
    assert sorted((report.new, report.unchanged, report.refused, report.good) for report in reports) == [
        (0, 3, 1, 3),
        (3, 0, 1, 3),
    ]
    assert [report.faults_in_all for report in reports] == [1, 1]
    assert set(Import.objects.values_list("state", flat=True)) == {"done"}
    assert (Case.objects.count(), Annotation.objects.count()) == (3, 2)


def test_of_each_row_little_is_remembered_however_long_its_id_is(helpline) -> None:
    writer = imports._Writer(imports.unsaved(helpline, name="a", mapping={}, source=""), Report())
    tracemalloc.start()
    for number in range(5_000):
        assert writer._why_refused(Example(id=f"{number:0200}", text="a", labels={}), None, None) == ""
    remembered, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert remembered / 5_000 < 200, "bytes"
    again = Example(id=f"{17:0200}", text="a", labels={"priority": "1"})
    assert writer._why_refused(again, None, None) == "stands in this file twice, with other labels"
