"""Training: `train()`, and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ml import calibration, frozen, held_out, matching, metrics, penalties, served, targets, tuning
from ml import model as models
from ml.calibration import HeadCalibration
from ml.config import TrainConfig
from ml.encoder import Encoder
from ml.errors import InputError
from ml.held_out import HeldOut, Outcome
from ml.model import CaseModel
from ml.progress import OnProgress, ignore
from ml.schema import Schema
from ml.served import INT8
from ml.targets import SpanTarget
from ml.teachers import Teachers
from ml.types import Example

FEWEST_EXAMPLES = 8  # Labelled examples of a head from which it learns


class TrainingError(InputError):
    """There is too little, or nothing, to learn from."""


@dataclass(frozen=True)
class TrainedModel:
    """What a training gives: heads, calibration, and how good it was on rows that it did not learn from.

    `encoder` is a tuned one after the full profile, and `served` the same as it is served. `counts` holds the labelled
    rows of each head; `faults` the spans that could not be learnt from; `metrics` is what `metrics.evaluate` returns;
    `held_out` are the rows that calibrated it, on which an export can be compared with it; `teachers` are hashes of the
    models that taught it.
    """

    schema: Schema
    config: TrainConfig
    encoder: Encoder
    served: Encoder
    network: CaseModel
    calibration: Mapping[str, HeadCalibration]
    counts: Mapping[str, Mapping[str, int]]
    faults: Mapping[str, Mapping[str, int]]
    metrics: Mapping[str, Any]
    epochs: int
    held_out: Sequence[Example]
    teachers: Sequence[str] = ()


def train(
    examples: Sequence[Example],
    schema: Schema,
    config: TrainConfig,
    *,
    encoder: Encoder,
    validation: Sequence[Example] = (),
    teachers: Teachers | None = None,
    exports: Path | None = None,
    progress: OnProgress = ignore,
) -> TrainedModel:
    """Train the heads that have labels enough.

    Args:
        examples: rows to learn from; any of their heads may be unlabelled.
        encoder: what `encoder.load` returned, or the encoder of an earlier model, to go on tuning from there.
        validation: rows for early stopping and calibration; without them, a part of the examples serves.
        teachers: models to learn from beside the labels.
        exports: folder that keeps exported encoders.
        progress: called after each batch of texts and each epoch; what it raises ends the training.

    Raises:
        TrainingError: no head has labels enough.
        TeacherError: a teacher has other labels than the schema.
        encoder.EncoderError: the encoder cannot be tuned, or has fewer layers than are wanted.
    """
    keys = learnable(schema, examples)
    if teachers:
        teachers.check([schema.head(key) for key in keys])
    rows = [*examples, *validation]
    texts = [row.text for row in rows]
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        if config.layers and config.layers < len(encoder.layers):
            encoder = matching.shrink(encoder, texts, config, progress)
        is_out = held_out.draw([row.text for row in examples], len(validation), config)
        ready = served.export(encoder, INT8, exports=exports)
        network = models.build(schema, keys, ready, copies=len(is_out))
        cut = ready.splitter.split(texts)
        lessons = (
            teachers.teach(network.heads, texts, [len(one.words) for one in cut], config, progress) if teachers else {}
        )
        spans = [SpanTarget.read(schema.head(key), rows, cut, lessons.get(key)) for key in network.tagged_keys]
        tagged = {row for target in spans for row in target.teaches.nonzero().flatten().tolist()}
        cases = frozen.encode(network, ready, texts, cut, tagged, progress)
        means = (cases.means - network.centre) / network.spread
        pooled = []
        for target in targets.read(schema, keys, rows, lessons):
            likeness = network.head(target.head.key).standard(cases.likeness[target.head.key]).mean(dim=1)
            pooled.append(replace(target, penalty=penalties.choose(means, likeness, target, is_out, config)))
        out = HeldOut(is_out, rows, pooled, spans, cut)
        outcome = frozen.fit(network, cases, pooled, spans, out, config, progress)
        if config.profile == "full":
            encoder, outcome = tuning.tune(network, encoder, out, outcome, config, progress)
            if encoder.tuned:
                ready = served.export(encoder, INT8)
                outcome = frozen.measure_again(network, ready, texts, out, outcome, progress)
        return _finish(schema, config, encoder, ready, network, out, outcome, teachers.hashes if teachers else ())


def learnable(schema: Schema, examples: Sequence[Example]) -> list[str]:
    """Return the heads that can learn from these examples.

    Raises:
        TrainingError: there is none.
    """
    counts = {head.key: sum(head.key in example.labels for example in examples) for head in schema.heads}
    found = [key for key, count in counts.items() if count >= FEWEST_EXAMPLES]
    if not found:
        counted = ", ".join(f"{key}: {count}" for key, count in counts.items())
        raise TrainingError(f"no head has {FEWEST_EXAMPLES} labelled examples to learn from ({counted})")
    return found


def _finish(
    schema: Schema,
    config: TrainConfig,
    encoder: Encoder,
    ready: Encoder,
    network: CaseModel,
    out: HeldOut,
    outcome: Outcome,
    teachers: Sequence[str],
) -> TrainedModel:
    """Calibrate and measure on the held-out rows, and keep the last copy, which learnt from every row that it may."""
    rows, scores = out.of_strangers(outcome)
    logits: dict[str, Any] = dict(scores)
    for target in out.tagged:
        logits[target.head.key] = [outcome.tags[target.head.key].get(row) for row in rows]
    held = [out.examples[row] for row in rows]
    words = [out.pieces[row].words for row in rows]
    truth = [row.labels for row in held]
    learns = (~out.is_out[-1]).tolist()
    trained = [row for row, does in zip(out.examples, learns, strict=True) if does]
    common = [row.labels for row in trained]
    learnt = calibration.fit(schema, logits, truth, words=words, learnt_from=common)
    given = calibration.predictions_of_strangers(schema, logits, truth, words=words, learnt_from=common)
    return TrainedModel(
        schema=schema,
        config=config,
        encoder=encoder,
        served=ready,
        network=_last(network, encoder.width),
        calibration=learnt,
        counts={
            "train": {key: sum(key in row.labels for row in trained) for key in network.keys},
            "held_out": {key: sum(key in row.labels for row in held) for key in network.keys},
        },
        faults={target.head.key: asdict(target.faults) for target in out.tagged},
        metrics=metrics.evaluate(schema, held, given),
        epochs=outcome.epoch,
        held_out=held,
        teachers=teachers,
    )


def _last(network: CaseModel, width: int) -> CaseModel:
    """Return a network with the last copy alone."""
    single = CaseModel(network.heads, width)
    has_copies = {name for name, _ in network.named_parameters() if name.startswith("pooled.")}
    state = network.state_dict()
    single.load_state_dict({name: value[-1:] if name in has_copies else value for name, value in state.items()})
    return single.eval()
