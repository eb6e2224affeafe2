"""Erasing a case: nothing that was said or written in it is left anywhere."""

from __future__ import annotations

from io import StringIO
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction

from ml.cache import Cache
from ml.policy import Side
from tests.conftest import case_named, helpline_prediction, predict, submission, train, trained_version
from webapp.actions import (
    drafts,
    erasing,
    escalations,
    export_files,
    feedback,
    reveals,
    reviews,
    sketches,
    snapshots,
    submissions,
)
from webapp.errors import NotErasable
from webapp.models import (
    Annotation,
    AuditEvent,
    Case,
    CaseState,
    Conversation,
    Erasure,
    Export,
    ExportState,
    LabelStudioProject,
    LabelStudioTask,
    ModelVersion,
    Outbox,
    RevealReason,
    Run,
    Schema,
)
from webapp.queries import lineage
from webapp.roles import Role

MARK = "zebrafish"  # Stands in the text and in all that people wrote of it


@pytest.fixture
def case(helpline, import_rows, person, settings, tmp_path, sent) -> Case:
    """A case with everything that a case can have."""
    settings.CACHE_DIR = tmp_path / "cache"
    row = {"id": "1", "text": f"The {MARK} is hungry.", "conversation": f"{MARK}-phone", "county": MARK}
    import_rows(helpline, row, {"id": "2", "text": "Another one."})
    case = predict(trained_version(helpline), "1", helpline_prediction(sure=0.6))
    said = submission(helpline, "Wanjiru", {"priority": "2"}, note=f"the {MARK}", shown=case.current_prediction)
    submissions.record(case, said)
    supervisor = person(Role.SUPERVISOR)
    reviews.ask_second_opinion(case, supervisor, revision=case_named("1").revision, note=f"a {MARK}?")
    escalations.escalate(case, supervisor, note=f"the {MARK}!")
    reveals.reveal(case, supervisor, RevealReason.values[0], note=f"is it the {MARK}?")
    drafts.save(case, supervisor, {"note": [MARK]}, revision=1)
    feedback.give(source=case.source, external_id="1", task="main_category", rating=1, reason=f"no {MARK}")
    sketches.store({case.pk: "1" * 512}, encoder="abc")
    Cache(tmp_path / "cache" / "vectors").write(f"enc-{case.text_hash}", np.ones((2, 3), dtype=np.float16))
    project = LabelStudioProject.objects.create(schema=helpline, schema_version=helpline.versions.get(), project=1)
    LabelStudioTask.objects.create(case=case, project=project, task=10)
    return case_named("1")


def erase(case: Case, by: Any) -> Erasure:
    return erasing.erase(case, by=by, reason="asked by the guardian", confirmation=case.external_id)


def found_in_the_database() -> list[str]:
    """The tables in which the mark stands, whatever the column."""
    found = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'select count(*) from "{table}" row where row::text ilike %s', [f"%{MARK}%"])  # noqa: S608
            found += [table] if cursor.fetchone()[0] else []
    return found


def test_nothing_of_it_is_left_in_any_table_or_in_the_cache(
    case, person, tmp_path, django_capture_on_commit_callbacks
) -> None:
    assert {"webapp_casetext", "webapp_annotation", "webapp_review", "webapp_draft"} <= set(found_in_the_database())
    with django_capture_on_commit_callbacks(execute=True):
        erase(case, person(Role.ADMIN))
    assert found_in_the_database() == []
    assert list((tmp_path / "cache").rglob("*.npy")) == []
    gone = Case.objects.get(pk=case.pk)
    assert (gone.state, gone.external_id, gone.metadata, gone.conversation) == (CaseState.ERASED, "1", {}, None)
    assert not Conversation.objects.exists()
    assert not gone.predictions.exists()
    assert not gone.labels.exists()
    assert [row.purpose for row in Outbox.objects.filter(case=gone, sent_at=None)] == ["withdraw"]


def test_files_that_were_taken_out_with_it_are_gone(case, person, settings, django_capture_on_commit_callbacks) -> None:
    admin = person(Role.ADMIN)
    export_files.write(export_files.request(case.schema, "jsonl", {}, by=admin).pk)
    row = Export.objects.get()
    assert MARK in export_files.path_of(row).read_text()
    with django_capture_on_commit_callbacks(execute=True):
        erase(case, admin)
    row.refresh_from_db()
    assert (row.state, export_files.path_of(row).exists()) == (ExportState.EXPIRED, False)


def test_the_log_keeps_who_erased_it_and_why(case, person) -> None:
    admin = person(Role.ADMIN)
    row = erase(case, admin)
    assert (row.person, row.reason) == (admin, "asked by the guardian")
    assert AuditEvent.objects.get(action="case erased").subject == f"case {case.pk}"
    assert Annotation.objects.filter(case=case).exists(), "who answered stays"
    with pytest.raises(IntegrityError, match="are only added"), transaction.atomic():
        Erasure.objects.update(reason="another")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"confirmation": "2"}, "^What was typed is not the id of this case; nothing was erased"),
        ({"reason": " "}, "^Say why the case is erased; nothing was erased"),
    ],
)
def test_it_is_erased_only_where_its_id_is_typed_and_a_reason_given(case, person, given, words) -> None:
    with pytest.raises(NotErasable, match=words):
        erasing.erase(case, by=person(Role.ADMIN), **{"reason": "asked", "confirmation": "1", **given})
    assert case_named("1").stored_text.text.startswith("The ")


def test_it_is_erased_once(case, person) -> None:
    admin = person(Role.ADMIN)
    erase(case, admin)
    with pytest.raises(NotErasable, match="already"):
        erase(case, admin)


def test_notes_of_other_cases_cannot_be_blanked(case) -> None:
    with pytest.raises(IntegrityError, match="are only added"), transaction.atomic():
        Annotation.objects.update(note="")


def test_a_conversation_with_other_cases_and_words_that_came_twice_are_kept(
    helpline, import_rows, person, settings, tmp_path, sent, django_capture_on_commit_callbacks
) -> None:
    settings.CACHE_DIR = tmp_path
    import_rows(helpline, *({"id": name, "text": "Hello.", "conversation": "c"} for name in "12"))
    cache = Cache(tmp_path / "vectors")
    cache.write(f"enc-{case_named('1').text_hash}", np.ones((2, 3), dtype=np.float16))
    with django_capture_on_commit_callbacks(execute=True):
        erase(case_named("1"), person(Role.ADMIN))
    assert list(Conversation.objects.get().cases.values_list("external_id", flat=True)) == ["2"]
    assert len(list(tmp_path.rglob("*.npy"))) == 1


def test_what_comes_afterwards_brings_no_words_back(case, helpline, person) -> None:
    erase(case, person(Role.ADMIN))
    late = submission(helpline, "Otieno", {"priority": "1"}, id=2, note=f"the {MARK}")
    assert submissions.record(case, late) is None
    feedback.give(source=case.source, external_id="1", task="priority", rating=1, reason=f"the {MARK}")
    assert found_in_the_database() == []


@pytest.mark.parametrize("state", [CaseState.WITHDRAWN, CaseState.ERASED])
def test_nothing_is_learnt_from_what_is_gone(helpline, import_rows, state) -> None:
    import_rows(helpline, *({"id": name, "text": f"text {name}", "priority": "1"} for name in "12"))
    Case.objects.filter(external_id="1").update(state=state)
    snapshot = snapshots.take(helpline.versions.get())
    assert [row.case.external_id for row in snapshot.rows.all()] == ["2"]


@pytest.fixture
def learnt(toy: Schema, import_rows: Any, sent: Any) -> ModelVersion:
    from tests import tiny
    from tests.conftest import row_of
    from webapp.actions import promotions

    import_rows(toy, *(row_of(case) for case in tiny.cases(60)))
    version = train(toy).version
    promotions.promote(version, by=None, reason="the first")
    return version


def test_versions_that_learnt_from_it_are_marked_and_a_training_is_proposed(learnt, signed_in, person) -> None:
    case = Case.objects.filter(side=Side.TRAIN).first()
    desk = signed_in(Role.ADMIN)
    assert "learnt from it" in desk.get(f"/cases/{case.pk}/").content.decode()
    assert "erased since" not in desk.get("/models/").content.decode()
    page = desk.get(f"/cases/{case.pk}/erase/").content.decode()
    assert f'Learnt from it: <a href="/models/versions/{learnt.pk}/">version 1</a>.' in page
    given = {"reason": "asked", "confirmation": "another"}
    assert desk.post(f"/cases/{case.pk}/erase/", given).status_code == 422
    page = desk.post(f"/cases/{case.pk}/erase/", given | {"confirmation": case.external_id}, follow=True)
    words = page.content.decode()
    assert "in use, learnt from 1 case that was erased since." in words
    assert "Train one that never saw it" in words
    assert "It learnt from 1 case that was erased since." in desk.get(f"/models/versions/{learnt.pk}/").content.decode()
    assert desk.get(f"/cases/{case.pk}/").status_code == 404
    assert list(lineage.erased(learnt)) == [case]
    desk.post("/models/toy/retrain/", {"profile": "fast"})
    assert Run.objects.latest("id").state == "queued"


def test_a_version_that_was_only_measured_on_it_is_not_marked(learnt, person) -> None:
    case = Case.objects.filter(side=Side.TEST).first()
    erase(case, person(Role.ADMIN))
    assert lineage.taints() == []


def test_the_command_erases_a_case(case, person) -> None:
    person(Role.ADMIN, "ada")
    given = ["erase_case", str(case.pk), "--reason", "asked", "--by", "ada", "--confirm"]
    with pytest.raises(CommandError, match="is not the id of this case"):
        call_command(*given, "7")
    out = StringIO()
    call_command(*given, "1", stdout=out)
    assert out.getvalue() == f"Case {case.pk} is erased.\n"
