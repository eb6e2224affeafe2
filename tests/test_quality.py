"""How well the fast profile learns, beside TF-IDF with logistic regression on the same rows; `-s` shows the figures."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from ml import baselines, encoder, export, metrics, schema, training
from ml.config import TrainConfig
from ml.serving import Predictor
from ml.types import Example
from tests.conftest import DATA
from webapp.casefiles import rows
from webapp.casefiles.columns import Columns
from webapp.demo import generate

pytestmark = pytest.mark.slow

HELPLINE = schema.load("helpline")


def test_the_model_beats_tf_idf_on_the_demo_calls(tmp_path: Path) -> None:
    """Held-out calls use other words, so shared words alone do not get far."""
    calls = [call for call in generate.helpline() if call.labels]
    ours, theirs = _compare(*baselines.part(calls), tmp_path)
    best = max(theirs["main_category"].values())
    assert best < 0.90
    assert ours["main_category"]["accuracy"] >= best + 0.03


def test_the_model_beats_tf_idf_on_real_calls_of_a_helpline(tmp_path: Path) -> None:
    path = DATA / "helpline_cases.jsonl"
    if not path.exists():
        pytest.skip(f"{path.name} is not on this machine; DATA=FOLDER names where it is")
    columns = Columns(HELPLINE, {})
    read = [columns.read(row.number, row.values or {}, source="real")[0] for row in rows.read(path, max_bytes=2**30)]
    calls = [call for call in read if call is not None]
    assert len(calls) == 511
    ours, theirs = _compare(*baselines.part(calls), tmp_path)
    assert ours["main_category"]["accuracy"] >= max(theirs["main_category"].values()) + 0.06
    assert ours["sub_category"]["accuracy"] >= max(theirs["sub_category"].values()) + 0.10


def _compare(learnt: list[Example], held_out: list[Example], place: Path) -> tuple[dict, dict]:
    """Train both, and measure both on the held-out calls."""
    reading = encoder.load()
    begun = time.monotonic()
    trained = training.train(learnt, HELPLINE, TrainConfig(), encoder=reading)
    trained_in = time.monotonic() - begun
    export.save(trained, place / "model")
    predictor = Predictor(place / "model")
    begun = time.monotonic()
    said = predictor.predict([call.text for call in held_out])
    per_second = len(held_out) / (time.monotonic() - begun)
    ours = metrics.evaluate(HELPLINE, held_out, said)
    theirs = {key: _tf_idf(learnt, held_out, key) for key in ("main_category", "sub_category")}
    figures = {"learnt": len(learnt), "held_out": len(held_out), "trained_in_seconds": round(trained_in, 1)}
    figures |= {"predicted_per_second": round(per_second, 1), "ours": ours, "tf_idf": theirs}
    sys.stdout.write(f"\n{json.dumps(figures)}\n")
    return ours, theirs


def _tf_idf(learnt: list[Example], held_out: list[Example], key: str) -> dict[str, float]:
    """Return the accuracy of the reference as it comes, and with what its users change first."""
    references = {
        "plain": make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(max_iter=2000)),
        "balanced": make_pipeline(
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2),
            LogisticRegression(max_iter=2000, class_weight="balanced"),
        ),
        "characters": make_pipeline(
            TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, min_df=2),
            LogisticRegression(max_iter=2000, class_weight="balanced"),
        ),
    }
    for reference in references.values():
        reference.fit([call.text for call in learnt], [str(call.labels[key]) for call in learnt])
    texts, truth = [call.text for call in held_out], [str(call.labels[key]) for call in held_out]
    return {name: float(reference.score(texts, truth)) for name, reference in references.items()}
