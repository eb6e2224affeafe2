"""The labelled cases that are most like a case."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from ml import sketches as ml_sketches
from ml.serving import Predictor
from tests import tiny
from tests.conftest import case_named, helpline_prediction, predict, row_of, train, trained_version
from webapp import worker
from webapp.actions import promotions, sketches
from webapp.models import Case, CaseText, Sketch
from webapp.models.cases import BitsField
from webapp.queries import similar
from webapp.roles import Role


def bits(changed: int = 0) -> str:
    """A sketch that differs from the one of no change in so many bits."""
    return "1" * changed + "0" * (ml_sketches.BITS - changed)


@pytest.fixture
def read(helpline, import_rows):
    """Four cases that the same encoder read, and one that another did; all but the first are labelled."""
    labels = {"main_category": "VANE", "sub_category": "Child Neglect", "priority": "2"}
    import_rows(helpline, {"id": "asked", "text": "asked"})
    import_rows(
        helpline,
        *(
            {"id": name, "text": name, "labels": labels}
            for name in ("far", "near", "nearest", "other encoder", "erased")
        ),
    )
    import_rows(helpline, {"id": "unlabelled", "text": "unlabelled"})
    changes = {"asked": 0, "far": 200, "near": 20, "nearest": 3, "erased": 1, "unlabelled": 0}
    sketches.store({case_named(name).pk: bits(count) for name, count in changes.items()}, encoder="one")
    sketches.store({case_named("other encoder").pk: bits()}, encoder="two")
    Case.objects.filter(external_id="erased").update(state="erased")
    return predict(trained_version(helpline), "asked", helpline_prediction(sure=0.62, urgent=0.31))


def test_the_labelled_cases_whose_sketches_differ_least_come_first(helpline, read) -> None:
    found = similar.labelled(read, helpline.versions.get().parsed)
    assert [one.case.external_id for one in found] == ["nearest", "near", "far"]
    assert [said.words for said in found[0].said] == [
        "Violence, abuse, neglect and exploitation",
        "Child neglect",
        "2 Urgent",
    ]


def test_the_page_shows_them_but_not_of_a_blind_case(read, signed_in) -> None:
    desk = signed_in(Role.SUPERVISOR)
    assert f'hx-get="/cases/{read.pk}/similar/"' in desk.get(f"/cases/{read.pk}/").content.decode()
    part = desk.get(f"/cases/{read.pk}/similar/", headers={"HX-Request": "true"}).content.decode()
    assert "nearest" in part
    assert "<html" not in part
    Case.objects.filter(pk=read.pk).update(is_audit=True)
    assert "similar/" not in desk.get(f"/cases/{read.pk}/").content.decode()
    assert "nearest" not in desk.get(f"/cases/{read.pk}/similar/").content.decode()


def test_what_is_known_of_an_audited_case_is_not_shown_before_its_blind_answer(helpline, read) -> None:
    Case.objects.filter(external_id="nearest").update(is_audit=True, state="labelling")
    Case.objects.filter(external_id="near").update(is_audit=True)
    found = similar.labelled(read, helpline.versions.get().parsed)
    assert [one.case.external_id for one in found] == ["near", "far"]


def test_a_sketch_goes_with_its_text(read) -> None:
    CaseText.objects.filter(pk=read.pk).delete()
    assert not Sketch.objects.filter(text=read.pk).exists()
    sketches.store({read.pk: bits()}, encoder="one")
    assert not Sketch.objects.filter(text=read.pk).exists()


def test_the_share_of_bits_that_differ_is_the_angle_of_two_vectors() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.standard_normal((2, 384)).astype(np.float32)
    for part in (0.0, 0.2, 0.5, 1.0):
        mixed = (1 - part) * one + part * other
        angle = math.acos(min(1.0, float(one @ mixed / np.linalg.norm(one) / np.linalg.norm(mixed))))
        pairs = zip(ml_sketches.sketch(one), ml_sketches.sketch(mixed), strict=True)
        differing = sum(a != b for a, b in pairs) / ml_sketches.BITS
        assert differing == pytest.approx(angle / math.pi, abs=0.06)


def test_the_column_holds_as_many_bits_as_a_sketch_has() -> None:
    assert BitsField().db_type(None) == f"bit({ml_sketches.BITS})"
    assert f"::bit({ml_sketches.BITS})" in similar.NEAREST


def test_workers_sketch_what_they_predict_and_what_was_labelled_before(toy, import_rows, sent, monkeypatch) -> None:
    import_rows(toy, *(row_of(case) for case in tiny.cases(60)))
    monkeypatch.setattr(worker.predicting, "BATCH", 40)
    version = train(toy).version
    promotions.promote(version, by=None, reason="the first")
    import_rows(toy, {"id": "asked", "text": "we saw the ship ship calm calm"})
    sent.append(("predict_cases", toy.pk))
    while ("predict_cases", toy.pk) in sent:
        sent.clear()
        worker.predict_cases(toy.pk)
    assert Sketch.objects.count() == Case.objects.count()
    Sketch.objects.update(encoder="of before")
    sent.append(("predict_cases", toy.pk))
    while ("predict_cases", toy.pk) in sent:
        sent.clear()
        worker.predict_cases(toy.pk)
    assert set(Sketch.objects.exclude(text__case__external_id="asked").values_list("encoder", flat=True)) == {
        version.manifest["encoder"]["sha256"]
    }


def test_a_case_that_cannot_be_read_is_tried_once_and_keeps_no_other_from_its_sketch(
    toy, import_rows, sent, monkeypatch, caplog
) -> None:
    import_rows(toy, *(row_of(case) for case in tiny.cases(20)))
    promotions.promote(train(toy).version, by=None, reason="the first")
    worker.predict_cases(toy.pk)
    Sketch.objects.update(encoder="of before")
    poison = Case.objects.filter(state="decided").first()
    tried, read = [], Predictor.read

    def choking(model: Predictor, texts: list[str], **options: Any) -> Any:
        if poison.stored_text.text in texts:
            tried.append(len(texts))
            raise ValueError(poison.stored_text.text)
        return read(model, texts, **options)

    monkeypatch.setattr(Predictor, "read", choking)
    for _ in range(3):
        worker.predict_cases(toy.pk)
    assert list(Sketch.objects.filter(bits=None).values_list("text", flat=True)) == [poison.pk]
    assert (Sketch.objects.count(), len(tried), tried[-1]) == (Case.objects.count(), 2, 1)
    assert [(one.case, one.error) for one in caplog.records if hasattr(one, "error")] == [(poison.pk, "ValueError")]
    assert similar.labelled(poison, toy.versions.get().parsed) == []
    other = Case.objects.exclude(pk=poison.pk).first()
    assert poison not in [one.case for one in similar.labelled(other, toy.versions.get().parsed)]
