"""How good a model is beside what needs no model of ours: the commonest answer, and TF-IDF with logistic regression.

All are measured on the same cases, which none of them learns from. What is measured of ours is what would be served.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline

from ml import export, metrics, policy, training
from ml.config import TrainConfig
from ml.encoder import Encoder
from ml.errors import InputError
from ml.policy import Side
from ml.progress import OnProgress, ignore
from ml.schema import Head, Kind, Schema
from ml.serving import Predictor
from ml.targets import SpanTarget
from ml.types import Example

LINEAR_C = 10.0  # Inverse of the penalty
WORDS = (1, 2)  # How many words in a row are a feature of TF-IDF


def compare(
    rows: Sequence[Example],
    schema: Schema,
    config: TrainConfig,
    *,
    encoder: Encoder,
    progress: OnProgress = ignore,
) -> dict[str, Any]:
    """Train on four fifths of the labelled cases, and measure on the others.

    Args:
        rows: cases, with whatever labels they have.
        encoder: what `encoder.load` returned; with a cache, the seconds say nothing of new cases.

    Returns:
        `learnt` and `held_out`, the numbers of cases; `train_seconds`, the encoding of the cases included; and `heads`.
        A head has what `metrics.evaluate` returns; one of one label or of several also has `tf_idf`, the main measure
        of TF-IDF with logistic regression, and one of spans `of_words`, its measures on the cases whose labelled ranges
        were made for their text: no model finds ranges that cut through words.

    Raises:
        InputError: no case is learnt from, or none held out.
        training.TrainingError: no head has labels enough.
    """
    learnt, held_out = part(rows)
    if not learnt or not held_out:
        counted = f"{len(learnt)} to learn from and {len(held_out)} held out"
        raise InputError(f"expected labelled cases to learn from and a fifth to hold out, found {counted}")
    return measure(learnt, held_out, schema, config, encoder=encoder, progress=progress)


def measure(
    learnt: Sequence[Example],
    held_out: Sequence[Example],
    schema: Schema,
    config: TrainConfig,
    *,
    encoder: Encoder,
    exports: Path | None = None,
    progress: OnProgress = ignore,
) -> dict[str, Any]:
    """Train on some cases, and measure on others beside TF-IDF; returns what `compare` does.

    Args:
        exports: folder that keeps exported encoders.

    Raises:
        training.TrainingError: no head has labels enough.
    """
    begun = time.monotonic()
    trained = training.train(learnt, schema, config, encoder=encoder, exports=exports, progress=progress)
    seconds = time.monotonic() - begun
    with tempfile.TemporaryDirectory(prefix="caseloop-compare-") as name:
        export.save(trained, Path(name) / "model", progress=progress)
        said = Predictor(Path(name) / "model").predict([row.text for row in held_out], progress=progress)
    heads = metrics.evaluate(schema, held_out, said)
    for head in schema.of_kind(Kind.CHOICE, Kind.CHOICES):
        if head.key in heads:
            heads[head.key]["tf_idf"] = tf_idf(learnt, held_out, head)
    cut = encoder.splitter.split([row.text for row in held_out])
    for head in (head for head in schema.of_kind(Kind.SPANS) if head.key in heads):
        fits = SpanTarget.read(head, held_out, cut).rows.nonzero().flatten().tolist()
        measured = metrics.evaluate(schema, [held_out[row] for row in fits], [said[row] for row in fits])
        heads[head.key]["of_words"] = measured.get(head.key, {"n": 0})
    return {"learnt": len(learnt), "held_out": len(held_out), "train_seconds": round(seconds, 1), "heads": heads}


def part(rows: Sequence[Example]) -> tuple[list[Example], list[Example]]:
    """Return the labelled cases to learn from and those to hold out: a fixed fifth by hash, the same as in the web app.

    A text that stands on both sides is not learnt from.
    """
    labelled = [row for row in rows if row.labels]
    sides = [
        policy.side_of(row.source, row.conversation or row.id, is_audit=False, has_labels=True) for row in labelled
    ]
    held_out = [row for row, side in zip(labelled, sides, strict=True) if side == Side.TEST]
    known = {row.text for row in held_out}
    return [row for row in labelled if row.text not in known], held_out


def tf_idf(learnt: Sequence[Example], held_out: Sequence[Example], head: Head) -> float:
    """Return the main measure of a head on its labelled held-out cases; every set of labels is a class of its own."""
    learnt, held_out = ([row for row in side if head.key in row.labels] for side in (learnt, held_out))
    classes = [json.dumps(sorted(metrics.items(row.labels[head.key]))) for row in learnt]
    if len(set(classes)) == 1:  # Logistic regression wants two
        answered = classes[:1] * len(held_out)
    else:
        reference = make_pipeline(TfidfVectorizer(ngram_range=WORDS), LogisticRegression(max_iter=2000))
        answered = reference.fit([row.text for row in learnt], classes).predict([row.text for row in held_out])
    truth = [metrics.items(row.labels[head.key]) for row in held_out]
    found = [frozenset(json.loads(said)) for said in answered]
    return _main_measure(head)(truth, found)


def linear(learnt: Sequence[Example], held_out: Sequence[Example], head: Head, encoder: Encoder) -> float:
    """Return the main measure of logistic regression on the mean vectors of the frozen encoder, one for each label.

    Where several labels may hold, each has a regression of its own that says yes or no.
    """
    learnt, held_out = ([row for row in side if head.key in row.labels] for side in (learnt, held_out))
    vectors, unseen = (encoder.means([row.text for row in side]).numpy() for side in (learnt, held_out))
    given, truth = ([metrics.items(row.labels[head.key]) for row in side] for side in (learnt, held_out))
    regression = LogisticRegression(C=LINEAR_C, max_iter=2000)
    if head.kind == Kind.CHOICE:
        classes = [next(iter(labels)) for labels in given]
        found = [frozenset([said]) for said in regression.fit(vectors, classes).predict(unseen)]
    else:
        table = [[key in labels for key in head.keys] for labels in given]
        known = [at for at in range(len(head.keys)) if 0 < sum(row[at] for row in table) < len(table)]
        each = OneVsRestClassifier(regression).fit(vectors, [[row[at] for at in known] for row in table])
        keys = [head.keys[at] for at in known]
        found = [
            frozenset(key for key, held in zip(keys, row, strict=True) if held) for row in each.predict(unseen).tolist()
        ]
    return _main_measure(head)(truth, found)


def _main_measure(head: Head) -> Callable[..., float]:
    return metrics.accuracy if head.kind == Kind.CHOICE else metrics.micro_f1
