"""What becomes of corrections."""

from __future__ import annotations

from typing import Any

import pytest

from ml.types import HeadPrediction
from tests import tiny
from tests.conftest import row_of, submission, train
from webapp import worker
from webapp.actions import predictions, promotions, receipts, submissions
from webapp.models import Annotation, Annotator, AnnotatorKind, Case, Receipt, Schema
from webapp.queries import receipts as told
from webapp.roles import Role

WRONG = {"sea": "land", "land": "sea"}


@pytest.fixture
def corrected(toy: Schema, import_rows: Any, sent: Any, person: Any) -> Annotation:
    """A champion, and a case of which it said what a person then corrected."""
    import_rows(toy, *(row_of(case) for case in tiny.cases(60)))
    version = train(toy).version
    promotions.promote(version, by=None, reason="the first")
    wanjiru = Annotator.objects.create(
        kind=AnnotatorKind.PERSON, name="Wanjiru", user=person(Role.ANNOTATOR, "wanjiru")
    )
    unlabelled = tiny.cases(12, seed=5)
    import_rows(toy, *({"id": f"new-{row.id}", "text": row.text} for row in unlabelled), name="new.jsonl")
    worker.predict_cases(toy.pk)
    truth = {f"new-{row.id}": row.labels["place"] for row in unlabelled}
    case = Case.objects.filter(external_id__in=truth, side="train").select_related("schema").first()
    answer = truth[case.external_id]
    predictions.store(
        version, [case], [{"place": HeadPrediction(WRONG[answer], 0.6, {WRONG[answer]: 0.6, answer: 0.4})}]
    )
    case.refresh_from_db()
    said = submission(toy, wanjiru.name, {"place": answer}, shown=case.current_prediction)
    annotation = submissions.record(case, said)
    assert annotation is not None
    assert annotation.changed_heads == ["place"]
    return annotation


def test_a_correction_is_told_which_version_learnt_from_it_and_what_that_says_now(corrected, toy) -> None:
    wanjiru = corrected.annotator.user
    assert [one.words for one in told.of_person(wanjiru)] == [
        "No version has learnt from it yet; the next training does."
    ]
    second = train(toy).version
    receipt = Receipt.objects.get()
    assert (receipt.annotation, receipt.version, list(receipt.heads)) == (corrected, second, ["place"])
    assert (receipt.similar, receipt.changed <= 10) == (10, True)
    train(toy, seed=1)
    assert Receipt.objects.get() == receipt, "the first that learnt from it"


def test_it_counts_what_changed_among_similar_cases_and_what_is_right_now(corrected, toy) -> None:
    second = train(toy).version
    Receipt.objects.all().delete()
    right = corrected.answers["place"]
    now = [{"place": HeadPrediction(right, 0.9, None)}]
    before = [{"place": HeadPrediction(WRONG[right], 0.9, None)}]
    assert receipts.write(second, now=lambda texts: now * len(texts), before=lambda texts: before * len(texts)) == 1
    [one] = told.of_case(corrected.case)
    assert one.words == (
        "Version 2 learnt from it. It now answers right: Place. 10 of 10 similar cases changed their answer."
    )
    Receipt.objects.all().delete()
    receipts.write(second, now=lambda texts: before * len(texts), before=lambda texts: before * len(texts))
    [one] = told.of_case(corrected.case)
    assert one.words == (
        "Version 2 learnt from it. It still answers otherwise: Place. 0 of 10 similar cases changed their answer."
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"side": "test"}, "Versions are measured on this case and never learn from it."),
        ({"state": "withdrawn"}, "The case was withdrawn; nothing is learnt from it."),
    ],
)
def test_a_correction_that_is_not_learnt_from_is_told_why(corrected, toy, changes, words) -> None:
    Case.objects.filter(pk=corrected.case_id).update(**changes)
    train(toy)
    assert not Receipt.objects.exists()
    assert [one.words for one in told.of_person(corrected.annotator.user)] == [words]


def test_a_training_ends_well_where_receipts_cannot_be_written(corrected, toy, monkeypatch, caplog) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("said a text")

    monkeypatch.setattr(receipts, "write", fail)
    assert train(toy).state == "succeeded"
    assert "receipts are not written" in caplog.text
    assert "said a text" not in caplog.text


def test_people_see_theirs_and_the_page_of_the_case_shows_all(corrected, toy, client, signed_in) -> None:
    client.force_login(corrected.annotator.user, backend="django.contrib.auth.backends.ModelBackend")
    page = client.get("/receipts/").content.decode()
    assert corrected.case.external_id in page
    assert "No version has learnt from it yet" in page
    desk = signed_in(Role.SUPERVISOR)
    assert "You have corrected no answer" in desk.get("/receipts/").content.decode()
    assert "What became of corrections" in desk.get(f"/cases/{corrected.case_id}/").content.decode()
