"""What a training learns from, and what it is measured on."""

from __future__ import annotations

import json

import pytest

from ml.policy import Side
from tests.conftest import case_named, change_policy, submission
from webapp.actions import snapshots, submissions
from webapp.models import Case, CaseState, Snapshot, SnapshotRow


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
