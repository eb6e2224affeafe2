"""A new version of a schema, with work under way."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from ml import schema
from ml.succession import Change, LabelChange, compare, translate
from ml.types import HeadPrediction
from tests import tiny
from tests.conftest import case_named, change_policy, predict, submission, trained_version
from webapp.actions import label_studio, runs, schemas, submissions, succession
from webapp.errors import NotApplicable
from webapp.models import AuditEvent, Case, LabelStudioProject, LabelStudioTask, Outbox, Run, Schema
from webapp.queries import schemas as in_force
from webapp.queries.succession import preview

# wave becomes part of ship; hill is called mound; road goes; lake is new
THING = """
  { key = "ship", name = "Vessel", definition = "ship", parent = "sea", replaces = ["wave"] },
  { key = "lake", name = "Lake", definition = "lake", parent = "sea" },
  { key = "mound", name = "Mound", definition = "hill", parent = "land", replaces = ["hill"] },
"""


def document() -> str:
    before, rest = tiny.SCHEMA.replace("version = 1", "version = 2").split('  { key = "ship"')
    return before + THING + rest[rest.index(']\n\n[[heads]]\nkey = "mood"') :]


@pytest.fixture
def newer() -> schema.Schema:
    return schema.parse(document())


@pytest.fixture
def toy(db: None, import_rows: Any, sent: Any) -> Schema:
    """Four decided cases, one for each thing, and one that annotators have."""
    row = schemas.register(tiny.toy_schema()).schema
    change_policy(row, audit_share=0.0, thresholds={"thing": 0.7})
    version = trained_version(row)
    for number, thing in enumerate(tiny.PLACES):
        import_rows(row, {"id": thing, "text": f"text {thing}"}, name=f"{thing}.jsonl")
        predict(version, thing, said(thing, 0.6))
        answers = {"place": tiny.PLACES[thing], "thing": thing}
        submissions.record(case_named(thing), submission(row, "Wanjiru", answers, id=number + 1))
    import_rows(row, {"id": "open", "text": "another"}, name="open.jsonl")
    predict(version, "open", said("wave", 0.6))
    Outbox.objects.all().delete()
    return row


def said(thing: str, sure: float) -> dict[str, HeadPrediction]:
    return {"thing": HeadPrediction(thing, sure, {thing: sure})}


def things() -> dict[str, object]:
    return {case.external_id: [one.answer for one in case.labels.filter(head="thing")] for case in Case.objects.all()}


def test_each_label_is_added_renamed_merged_or_removed(newer) -> None:
    found = compare(tiny.toy_schema(), newer)
    assert set(found.labels) == {
        LabelChange("thing", Change.RENAMED, "ship", "ship"),
        LabelChange("thing", Change.MERGED, "wave", "ship"),
        LabelChange("thing", Change.RENAMED, "hill", "mound"),
        LabelChange("thing", Change.REMOVED, "road"),
        LabelChange("thing", Change.ADDED, "lake"),
    }
    assert (found.added_heads, found.removed_heads) == ((), ())


@pytest.mark.parametrize(
    ("kind", "answer", "expected"),
    [
        ("choice", "old", "new"),
        ("choice", "gone", None),
        ("choices", ["old", "new", "kept", "gone"], ["new", "kept"]),
        ("choices", ["gone"], None),
        ("choices", [], []),
        (
            "spans",
            [{"start": 0, "end": 1, "label": "old"}, {"start": 2, "end": 3, "label": "gone"}],
            [{"start": 0, "end": 1, "label": "new"}],
        ),
    ],
)
def test_old_answers_are_put_in_the_words_of_the_new_version(kind, answer, expected) -> None:
    labels = (schema.Label("new", "New", "n", replaces=("old",)), schema.Label("kept", "Kept", "k"))
    assert translate(schema.Head("a", "A", schema.Kind(kind), "?", labels), answer) == expected


def test_a_key_may_be_replaced_by_one_label_only() -> None:
    twice = document().replace('replaces = ["hill"]', 'replaces = ["wave"]')
    with pytest.raises(schema.SchemaError, match="has the key 'wave' twice"):
        schema.parse(twice)


def test_a_preview_counts_what_each_change_touches_and_changes_nothing(toy, newer, tmp_path) -> None:
    project = LabelStudioProject.objects.create(schema=toy, schema_version=toy.versions.get(), project=1)
    LabelStudioTask.objects.create(case=case_named("road"), project=project, task=3)
    (tmp_path / "toy.toml").write_text(document())
    out = StringIO()
    call_command("schema", "apply", str(tmp_path / "toy.toml"), stdout=out)
    assert out.getvalue().splitlines() == [
        "thing.ship: renamed (1 labels of 1 cases)",
        "thing.wave: merged into ship (1 labels of 1 cases)",
        "thing.hill: renamed, now mound (1 labels of 1 cases)",
        "thing.road: removed (1 labels of 1 cases, 1 in Label Studio)",
        "thing.lake: added (0 labels of 0 cases)",
        "Nothing is changed yet; --yes applies it.",
    ]
    assert toy.versions.count() == 1


def test_applying_it_translates_labels_and_sends_back_what_lost_its_label(toy, newer, person) -> None:
    assert {case.state for case in Case.objects.exclude(external_id="open")} == {"decided"}
    done = succession.apply(newer, by=None)
    assert (done.translated, done.asked_again) == (3, 1)
    assert things() == {"ship": ["ship"], "wave": ["ship"], "hill": ["mound"], "road": [], "open": []}
    states = dict(Case.objects.values_list("external_id", "state"))
    assert states == {"ship": "decided", "wave": "decided", "hill": "decided", "road": "labelling", "open": "labelling"}
    assert [(row.case.external_id, row.purpose) for row in Outbox.objects.all()] == [("road", "push")]
    assert in_force.newest_version(toy).number == 2
    said_then = case_named("wave").annotations.get().answers["thing"]
    assert said_then == "wave", "what was said stays as it was"
    assert AuditEvent.objects.get(action="schema applied").facts == {
        "version": 2,
        "translated": 3,
        "asked_again": 1,
    }


def test_what_the_version_in_use_says_is_shown_in_the_new_words(toy, newer) -> None:
    succession.apply(newer, by=None)
    case = case_named("open")
    assert label_studio.shown(newer, case)["thing"].answer == "ship"
    assert label_studio.shown(newer, case_named("road")) == {}


def test_an_answer_that_was_begun_under_the_old_version_counts_under_the_new_one(toy, newer) -> None:
    old = toy.versions.get()
    succession.apply(newer, by=None)
    late = submission(toy, "Otieno", {"place": "sea", "thing": "wave"}, id=9)
    submissions.record(case_named("open"), replace(late, schema_version=old))
    assert things()["open"] == ["ship"]
    assert case_named("open").state == "decided"


def test_a_run_that_is_under_way_keeps_its_version(toy, newer, monkeypatch) -> None:
    monkeypatch.setattr(runs, "FEWEST_LABELLED_CASES", 1)
    run = runs.claim(runs.request(toy).pk)
    succession.apply(newer, by=None)
    assert Run.objects.get(pk=run.pk).schema_version.number == 1
    runs.beat(run, {})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("version = 2", "version = 1"), "version is 1; expected more than 1, which is in use"),
        (('name = "toy"', 'name = "other"'), "other is no schema that is in use"),
        (
            ('key = "mood"\nname = "Mood"\nkind = "choices"', 'key = "mood"\nname = "Mood"\nkind = "choice"'),
            "mood is of",
        ),
    ],
)
def test_what_cannot_take_its_place_is_refused(toy, change, words) -> None:
    with pytest.raises(NotApplicable, match=words):
        preview(schema.parse(document().replace(*change)))


def test_the_command_applies_it(toy, tmp_path: Path) -> None:
    (tmp_path / "toy.toml").write_text(document())
    out = StringIO()
    call_command("schema", "apply", str(tmp_path / "toy.toml"), "--yes", stdout=out)
    assert out.getvalue().splitlines()[-1] == (
        "toy 2 is in use. 3 cases translated; 1 go back to annotators, since their label went away."
    )
    with pytest.raises(CommandError, match="expected more than 2"):
        call_command("schema", "apply", str(tmp_path / "toy.toml"))
