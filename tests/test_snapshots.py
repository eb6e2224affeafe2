"""What a training learns from, and what it is measured on."""

from __future__ import annotations

import json

import pytest

from ml.policy import Side
from tests.conftest import case_named, change_policy, submission, trained_version
from webapp.actions import snapshots, submissions
from webapp.models import Case, CaseState, Evaluation, Run, Snapshot, SnapshotRow
from webapp.roles import Role


def rows_of(snapshot: Snapshot) -> dict[str, tuple[str, dict[str, object]]]:
    found = SnapshotRow.objects.filter(snapshot=snapshot).select_related("case")
    return {row.case.external_id: (row.side, row.labels) for row in found}


@pytest.fixture
def audited(helpline, import_rows):
    """Two audited cases that came with labels, beside two others; `audit-1` was answered blind by a person."""
    labels = {"priority": "2"}
    import_rows(helpline, *({"id": f"case-{n}", "text": f"case {n}", "labels": labels} for n in (1, 2)))
    change_policy(helpline, audit_share=1.0)
    import_rows(helpline, *({"id": f"audit-{n}", "text": f"audit {n}", "labels": labels} for n in (1, 2)))
    submissions.record(case_named("audit-1"), submission(helpline, "Wanjiru", {"priority": "3"}))
    Case.objects.filter(external_id="case-1").update(side=Side.TRAIN)
    Case.objects.filter(external_id="case-2").update(side=Side.TEST)
    return helpline.versions.get()


def test_a_snapshot_holds_the_labels_sides_and_hashes_of_labelled_cases(helpline, import_rows) -> None:
    import_rows(helpline, {"id": "1", "text": "a", "priority": "1"}, {"id": "2", "text": "unlabelled"})
    Case.objects.update(side=Side.VALIDATION)
    snapshot = snapshots.take(helpline.versions.get())
    assert rows_of(snapshot) == {"1": ("validation", {"priority": "1"})}
    row = SnapshotRow.objects.get()
    assert row.text_hash == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"  # SHA-256 of "a"
    assert (snapshot.counts, snapshot.test_source) == ({"validation": 1}, "imports")


def test_audits_that_nobody_answered_blind_are_left_out(audited) -> None:
    assert rows_of(snapshots.take(audited)) == {
        "case-1": ("train", {"priority": "2"}),
        "case-2": ("test", {"priority": "2"}),
        "audit-1": ("test", {"priority": "3"}),
    }


def test_once_there_are_enough_blind_audits_they_alone_are_the_test_side(audited, monkeypatch) -> None:
    monkeypatch.setattr(snapshots, "ENOUGH_AUDITS", 1)
    snapshot = snapshots.take(audited)
    assert rows_of(snapshot) == {
        "case-1": ("train", {"priority": "2"}),
        "audit-1": ("test", {"priority": "3"}),
    }
    assert snapshot.test_source == "audits"


def test_the_same_content_is_the_same_snapshot(helpline, import_rows) -> None:
    import_rows(helpline, {"id": "1", "text": "a", "priority": "1"})
    first = snapshots.take(helpline.versions.get())
    assert snapshots.take(helpline.versions.get()) == first
    assert (Snapshot.objects.count(), SnapshotRow.objects.count()) == (1, 1)


def test_a_changed_label_makes_another_snapshot_and_leaves_the_old_one(helpline, import_rows) -> None:
    import_rows(helpline, {"id": "1", "text": "a", "priority": "1"})
    first = snapshots.take(helpline.versions.get())
    import_rows(helpline, {"id": "1", "text": "a", "priority": "2"})
    second = snapshots.take(helpline.versions.get())
    assert (rows_of(first)["1"][1], rows_of(second)["1"][1]) == ({"priority": "1"}, {"priority": "2"})
    assert first.digest != second.digest


def test_a_case_stays_on_its_side_whatever_is_said_of_it_later(helpline, import_rows) -> None:
    rows = [{"id": str(n), "text": f"text {n}"} for n in range(30)]
    import_rows(helpline, *rows)
    before = dict(Case.objects.values_list("external_id", "side"))
    assert set(before.values()) == {"train", "validation"}
    import_rows(helpline, *(row | {"priority": "1"} for row in rows))
    snapshot = snapshots.take(helpline.versions.get())
    assert {name: side for name, (side, _) in rows_of(snapshot).items()} == before


def test_an_erased_case_is_not_learnt_from(helpline, import_rows) -> None:
    import_rows(helpline, {"id": "1", "text": "a", "priority": "1"}, {"id": "2", "text": "b", "priority": "1"})
    Case.objects.filter(external_id="1").update(state=CaseState.ERASED)
    assert set(rows_of(snapshots.take(helpline.versions.get()))) == {"2"}


@pytest.fixture
def alike(helpline, import_rows):
    """The same words as cases of all three sides, beside others; the audit `t2` is not labelled."""
    texts = {
        "t1": "She is hungry, says Amina.",
        "v1": "she is hungry says amina",
        "r1": "SHE  is hungry - says Amina!",
        "t2": "A quiet call.",
        "r2": "a quiet call",
        "v3": "Nobody answered.",
        "r3": "nobody  answered",
        "r4": "Something else.",
    }
    unlabelled = {"id": "t2", "text": texts.pop("t2")}
    import_rows(helpline, unlabelled, *({"id": key, "text": text, "priority": "1"} for key, text in texts.items()))
    for letter, side in (("t", Side.TEST), ("v", Side.VALIDATION), ("r", Side.TRAIN)):
        Case.objects.filter(external_id__startswith=letter).update(side=side)
    return helpline


def test_words_that_are_held_out_are_in_no_case_to_learn_from(alike) -> None:
    snapshot = snapshots.take(alike.versions.get())
    sides = {name: side for name, (side, _) in rows_of(snapshot).items()}
    assert sides == {"t1": "test", "v3": "validation", "r4": "train"}
    assert (snapshot.left_out, snapshot.counts) == (4, {"test": 1, "validation": 1, "train": 1})


def test_pages_say_how_many_cases_were_left_out(alike, signed_in) -> None:
    snapshot = snapshots.take(alike.versions.get())
    version = trained_version(alike)
    run = Run.objects.create(
        schema=alike, schema_version=version.schema_version, snapshot=snapshot, version=version, state="succeeded"
    )
    figures = {"priority": {"n": 1, "accuracy": 1.0, "majority": 1.0}}
    Evaluation.objects.create(version=version, snapshot=snapshot, heads=figures)
    staff = signed_in(Role.SUPERVISOR)
    for address in (f"/models/runs/{run.pk}/", f"/models/versions/{version.pk}/"):
        assert "4 labelled cases were left out of training: the same words" in staff.get(address).content.decode()


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("She's hungry.", "SHE S\n hungry", True),
        ("ﬁve", "five", True),
        ("one_two", "one two", True),
        ("case 1", "case 2", False),
        ("?!", "...", False),
    ],
)
def test_words_are_the_same_whatever_stands_between_them(one, other, is_same) -> None:
    assert (snapshots.words_hash(one) == snapshots.words_hash(other)) is is_same


def test_no_row_holds_a_text(helpline, import_rows) -> None:
    text = "My name is Amina."
    labels = {"entities": [{"start": 11, "end": 16, "label": "NAME"}]}
    import_rows(helpline, {"id": "1", "text": text, "labels": labels, "county": "Kisumu"})
    snapshot = snapshots.take(helpline.versions.get())
    stored = json.dumps(
        [list(SnapshotRow.objects.values()), list(Snapshot.objects.filter(pk=snapshot.pk).values())], default=str
    )
    assert '"start": 11' in stored
    assert not any(word in stored for word in ("Amina", "My name", "Kisumu"))
