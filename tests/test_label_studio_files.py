"""Label Studio's own files: what a team brings along comes in with its annotators, and what we know goes out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command

from ml.types import Labels
from tests.conftest import case_named, change_policy, submission
from tests.importing import import_file
from webapp.actions import people, reviews, snapshots, submissions, uploads
from webapp.models import Annotation, Annotator, AuditEvent, Case, CaseState, Import, ImportState, Origin
from webapp.roles import Role

TEXT = "Wanjiru is twelve and\r\nlives in Kisumu."
NEGLECT: Labels = {"main_category": "VANE", "sub_category": "Child Neglect", "priority": "2"}


def region(name: str, kind: str, **value: Any) -> dict[str, Any]:
    return {"id": "x1", "from_name": name, "to_name": "text", "type": kind, "value": value, "origin": "manual"}


def foreign_task(*said: tuple[str, list[dict[str, Any]]], **data: Any) -> dict[str, Any]:
    """A task as another team's project exports it: its own names of controls, labels as they are shown."""
    annotations = [
        {"id": number, "completed_by": {"id": number, "email": by}, "result": result, "was_cancelled": not result}
        for number, (by, result) in enumerate(said, start=1)
    ]
    return {"id": 5, "data": {"text": TEXT, "id": "a", **data}, "annotations": annotations, "predictions": []}


@pytest.fixture
def bring(helpline, tmp_path) -> Any:
    """Import tasks, as the command does."""

    def run(*tasks: dict[str, Any]) -> Any:
        path = tmp_path / "export.json"
        path.write_text(json.dumps(tasks))
        return import_file(path, helpline)

    return run


AMINA = [
    region("Category", "taxonomy", taxonomy=[["VANE", "Child Neglect"]]),
    region("priority", "choices", choices=["2"]),
    region("Entities", "labels", start=0, end=7, labels=["NAME"], text="Wanjiru"),
    region("Entities", "labels", start=32, end=38, labels=["LOCATION"], text="Kisumu"),
]


def test_a_teams_own_project_comes_in_with_its_annotations_and_annotators(bring, person) -> None:
    amina = person(Role.ANNOTATOR, "amina")
    named = [region("sub_category", "taxonomy", taxonomy=[["VANE", "Child Neglect"]]), *AMINA[1:]]
    report = bring(foreign_task((amina.email, named), ("otieno@example.org", []), county="Kisumu"))
    case = case_named("a")
    assert (report.new, report.faulty, case.metadata) == (1, 0, {"county": "Kisumu"})
    first, second = case.annotations.order_by("pk")
    assert first.annotator == people.annotator_of(amina)
    assert (second.annotator.name, second.is_skip, second.answers) == ("otieno@example.org", True, {})
    assert {row.origin for row in (first, second)} == {Origin.IMPORT}
    assert dict(case.labels.values_list("head", "answer")) == first.answers
    assert {key: first.answers[key] for key in NEGLECT} == NEGLECT
    spans = [case.stored_text.text[span["start"] : span["end"]] for span in first.answers["entities"]]
    assert spans == ["Wanjiru", "Kisumu"]
    assert (case.state, report.labelled["entities"]) == (CaseState.DECIDED, 1)


def test_a_control_that_no_head_explains_is_reported_and_the_rest_kept(bring) -> None:
    report = bring(foreign_task(("amina@example.org", [region("mood", "choices", choices=["sad"]), AMINA[1]])))
    assert case_named("a").annotations.get().answers == {"priority": "2"}
    assert [fault["message"][:38] for fault in report.faults] == ["mood is not a head of the schema helpl"]


def test_annotators_of_a_file_who_disagree_send_the_case_to_review(bring) -> None:
    other = [*AMINA[2:], region("priority", "choices", choices=["3"])]
    bring(foreign_task(("amina@example.org", AMINA[1:]), ("otieno@example.org", other)))
    case = case_named("a")
    assert (case.state, [label.head for label in case.labels.all()]) == (CaseState.REVIEW, ["entities"])
    assert [(flag.kind, flag.head) for flag in case.flags.all()] == [("disagreement", "priority")]


def test_an_audited_case_is_not_decided_by_a_file(bring, helpline) -> None:
    change_policy(helpline, audit_share=1.0)
    named = [region("sub_category", "taxonomy", taxonomy=[["VANE", "Child Neglect"]]), *AMINA[1:]]
    bring(foreign_task(("amina@example.org", named)))
    assert case_named("a").state == CaseState.NEW


def test_people_of_a_file_who_differ_within_the_limits_are_no_blind_test_case(bring, helpline) -> None:
    change_policy(helpline, audit_share=1.0, disagreement_limits={"priority": 1.0})
    other = [region("priority", "choices", choices=["3"])]
    bring(foreign_task(("amina@example.org", AMINA[1:2]), ("otieno@example.org", other)))
    assert case_named("a").labels.get().rule == "closest"
    assert snapshots.take(helpline.versions.get()).rows.count() == 0


def test_the_same_file_again_changes_nothing_and_an_answer_more_is_added(bring) -> None:
    task = foreign_task(("amina@example.org", AMINA[1:]))
    bring(task)
    again = bring(task)
    assert (again.unchanged, again.relabelled, Annotation.objects.count(), Annotator.objects.count()) == (1, 0, 1, 1)
    more = bring(foreign_task(("amina@example.org", AMINA[1:]), ("otieno@example.org", AMINA[1:])))
    assert (more.unchanged, more.relabelled, Annotation.objects.count()) == (0, 1, 2)


def test_a_file_again_does_not_override_what_people_said_since_or_in_it(bring) -> None:
    columns = foreign_task(priority="1")
    bring(columns)
    both = foreign_task(("amina@example.org", AMINA[1:2]), priority="1")
    bring(both)
    for task in (columns, both):
        again = bring(task)
        assert (again.unchanged, again.relabelled, Annotation.objects.count()) == (1, 0, 2)
    assert case_named("a").labels.get().answer == "2"


def test_what_is_no_annotation_is_reported_and_the_case_kept(bring) -> None:
    report = bring(foreign_task() | {"annotations": [3, {"result": "x"}, {"result": [4]}]})
    assert (report.new, report.faulty, case_named("a").labels.count()) == (1, 1, 0)


def test_the_upload_page_recognises_an_export(helpline, signed_in, tmp_path, sent) -> None:
    body = json.dumps([foreign_task(("amina@example.org", AMINA[1:]))]).encode()
    given = {"file": SimpleUploadedFile("export.json", body), "schema": "helpline", "source": "team"}
    desk = signed_in(Role.ADMIN)
    assert desk.post("/imports/", given).status_code == 302
    row = Import.objects.get()
    uploads.preview(row.pk)
    row.refresh_from_db()
    assert (row.report["labelled"], Case.objects.count()) == ({"priority": 1, "entities": 1}, 0)
    uploads.confirm(row)
    uploads.apply(row.pk)
    row.refresh_from_db()
    assert (row.state, case_named("a").annotations.get().annotator.name) == (ImportState.DONE, "amina@example.org")


@pytest.fixture
def answered(helpline, case, say, person) -> Case:
    """A case on which two annotators and a supervisor have spoken."""
    Case.objects.filter(pk=case.pk).update(metadata={"county": "Kisumu"})
    entities = [{"start": 20, "end": 25, "label": "NAME"}]
    quality = {"hold": {"explains": None}, "opening": {"phrase": True}}
    say("amina@example.org", {**NEGLECT, "entities": entities, "intervention": []}, seconds=12.5, note="Call again.")
    submissions.record(case, submission(helpline, "otieno@example.org", {}, id=2, is_skip=True))
    submissions.record(case, submission(helpline, "wafula@example.org", {**NEGLECT, "call_quality": quality}, id=3))
    halima = person(Role.SUPERVISOR, "halima")
    reviews.decide(case, halima, answers={**NEGLECT, "priority": "3"}, revision=case_named("1").revision)
    return case_named("1")


def export(path: Any, person: Any) -> list[dict[str, Any]]:
    admin = person(Role.ADMIN)
    call_command("export_cases", str(path), by=admin.username)
    return list(json.loads(path.read_text()))


def test_what_goes_out_comes_in_again_the_same(answered, bring, helpline, person, tmp_path) -> None:
    before = [*_said(answered)]
    (task,) = export(tmp_path / "out.json", person)
    assert (tmp_path / "out.json").stat().st_mode & 0o777 == 0o600
    Case.objects.filter(pk=answered.pk).update(external_id="before")
    report = bring(task)
    back = case_named("1")
    assert (report.new, report.faults, len(before)) == (1, [], 4)
    assert [*_said(back)] == before
    assert (back.stored_text.text, back.metadata) == (answered.stored_text.text, {"county": "Kisumu"})
    assert dict(back.labels.values_list("head", "answer")) == dict(answered.labels.values_list("head", "answer"))
    assert (back.labels.get(head="priority").answer, back.state) == ("3", CaseState.DECIDED)
    assert bring(task).unchanged == 1


def _said(case: Case) -> list[tuple[Any, ...]]:
    rows = case.annotations.order_by("pk")
    return [(row.annotator.name, row.answers, row.is_skip, row.seconds, row.note) for row in rows]


def test_what_was_superseded_deleted_or_erased_does_not_go_out(answered, say, helpline, person, tmp_path) -> None:
    say("amina@example.org", {**NEGLECT, "priority": "3"}, minute=1)
    say("wafula@example.org", {}, id=3, minute=1, is_deletion=True)
    (task,) = export(tmp_path / "out.json", person)
    assert [said["completed_by"]["email"] for said in task["annotations"]] == [
        "otieno@example.org",
        "halima@example.org",
        "amina@example.org",
    ]
    Case.objects.update(state=CaseState.ERASED)
    (tmp_path / "out.json").unlink()
    call_command("export_cases", str(tmp_path / "out.json"), by="admin")
    assert json.loads((tmp_path / "out.json").read_text()) == []


def test_what_a_column_said_goes_out_as_labels_and_comes_in_behind_what_people_said(
    bring, case, helpline, import_rows, say, person, tmp_path
) -> None:
    import_rows(helpline, {"id": "1", "text": case.stored_text.text, "priority": "1", "intervention": "Referral"})
    say("amina@example.org", NEGLECT)
    (task,) = export(tmp_path / "out.json", person)
    assert task["data"]["labels"] == {"priority": "1", "intervention": ["Referral"]}
    assert [said["completed_by"]["email"] for said in task["annotations"]] == ["amina@example.org"]
    Case.objects.filter(pk=case.pk).update(external_id="before")
    bring(task)
    said = dict(case_named("1").labels.values_list("head", "answer"))
    assert said == {**NEGLECT, "intervention": ["Referral"]}
    assert bring(task).unchanged == 1


def test_the_truth_of_a_file_stands_alone_for_the_heads_that_it_answers(bring) -> None:
    wrong = [AMINA[2], region("priority", "choices", choices=["3"])]
    task = foreign_task(("amina@example.org", AMINA[1:2]), ("otieno@example.org", wrong))
    task["annotations"][0]["ground_truth"] = True
    bring(task)
    case = case_named("a")
    assert case.labels.get(head="priority").answer == "2"
    assert (case.labels.filter(head="entities").exists(), case.state) == (True, CaseState.NEW)


def test_an_export_is_for_admins_and_is_logged(answered, signed_in, person, tmp_path, capsys) -> None:
    person(Role.SUPERVISOR)
    for name in ("supervisor", "nobody"):
        with pytest.raises(CommandError, match=f"{name} is no admin"):
            call_command("export_cases", str(tmp_path / "out.json"), by=name)
    assert AuditEvent.objects.filter(action="cases exported").count() == 0
    answer = signed_in(Role.ADMIN).post("/exports/helpline/")
    event = AuditEvent.objects.get(action="cases exported")
    assert (event.actor.username, event.subject) == ("admin", "schema helpline")
    assert event.facts == {"format": "label-studio", "cases": 1}
    assert answer["Content-Disposition"] == 'attachment; filename="helpline.json"'
    assert [task["data"]["id"] for task in json.loads(answer.getvalue())] == ["1"]
    call_command("export_cases", str(tmp_path / "out.json"), by="admin")
    assert "1 cases written" in capsys.readouterr().out
    with pytest.raises(CommandError, match="cannot be written"):
        call_command("export_cases", str(tmp_path / "out.json"), by="admin")


def test_a_number_in_a_file_is_not_the_user_of_ours_with_that_number(bring) -> None:
    ours = people.annotator_from_label_studio(1, None)
    task = foreign_task(("x@example.org", AMINA[1:]))
    task["annotations"][0]["completed_by"] = 1
    bring(task)
    said = case_named("a").annotations.get()
    assert (said.annotator.name, ours.name) == ("Label Studio user 1", "Label Studio user 1")
    assert said.annotator != ours
