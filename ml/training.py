"""Training: `train()`, and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ml import (
    calibration,
    contrast,
    familiarity,
    frozen,
    held_out,
    leaks,
    matching,
    metrics,
    penalties,
    savepoint,
    served,
    targets,
    tuning,
)
from ml import model as models
from ml.calibration import HeadCalibration
from ml.config import TrainConfig
from ml.encoder import Encoder
from ml.errors import InputError
from ml.familiarity import Familiarity
from ml.frozen import Cases
from ml.held_out import HeldOut, Outcome
from ml.model import CaseModel
from ml.pieces import Pieces
from ml.progress import OnProgress, ignore
from ml.savepoint import Savepoints
from ml.schema import Head, Kind, Schema
from ml.served import INT8
from ml.targets import SpanTarget, Target
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
    models that taught it, and `told_apart` names the head whose labels the encoder learnt to tell apart. `surrogates`
    is what `leaks.measure` says, None of a model that finds no entities. Where
    `is_of_all_rows`, the measures are those of a model that learnt in the same way without the held-out ones.
    `familiarity` tells which texts are like those that it learnt from, None where there were too few to say.
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
    told_apart: str | None = None
    surrogates: Mapping[str, Any] | None = None
    is_of_all_rows: bool = False
    familiarity: Familiarity | None = None


def train(
    examples: Sequence[Example],
    schema: Schema,
    config: TrainConfig,
    *,
    encoder: Encoder,
    validation: Sequence[Example] = (),
    teachers: Teachers | None = None,
    exports: Path | None = None,
    savepoints: Path | None = None,
    resume: Path | None = None,
    progress: OnProgress = ignore,
) -> TrainedModel:
    """Train the heads that have labels enough.

    Args:
        examples: rows to learn from; any of their heads may be unlabelled.
        encoder: what `encoder.load` returned, or the encoder of an earlier model, to go on tuning from there.
        validation: rows for early stopping and calibration; without them, a part of the examples serves.
        teachers: models to learn from beside the labels.
        exports: folder that keeps exported encoders.
        savepoints: folder to write savepoints into while the encoder's upper layers are tuned.
        resume: such a folder, of a training that died; this one goes on from there, and writes its own there too.
        progress: called after each batch of texts and each epoch; what it raises ends the training.

    Raises:
        TrainingError: no head has labels enough.
        TeacherError: a teacher has other labels than the schema.
        encoder.EncoderError: the encoder cannot be tuned, or has fewer layers than are wanted.
        savepoint.SavepointError: there is no savepoint to resume from, or it is one of another training.
    """
    keys = learnable(schema, examples)
    if teachers:
        teachers.check([schema.head(key) for key in keys])
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        rows = [*examples, *validation]
        saves = None
        if folder := resume or savepoints:
            taught = [encoder.digest, *(teachers.hashes if teachers else ())]
            saves = Savepoints(folder, savepoint.digest_of(rows, len(validation), schema, config, taught))
            if resume:
                saves.check()  # Before the minutes that it takes to come to where it was written
        if config.layers and config.layers < len(encoder.layers):
            encoder = matching.shrink(encoder, [row.text for row in rows], config, progress)
        is_out = held_out.draw([row.text for row in examples], len(validation), config)
        learning = _Learning.read(rows, schema, keys, config, encoder, teachers, progress)
        told_apart = None
        if config.profile == "full" and not encoder.tuned:
            told_apart = contrast.head_to_learn(learning.heads, _of(rows, ~is_out[0]), config)
        if told_apart is not None:
            found = learning.tell_apart(encoder, told_apart, is_out)
            if not validation:  # Each row is dear, so the last model learns from all of them as the first did from most
                found = learning.tell_apart(encoder, told_apart, torch.zeros_like(is_out), after=found)
        else:
            found = learning.fit(encoder, served.export(encoder, INT8, exports=exports), is_out)
            if config.profile == "full":
                found = learning.tune(found, saves, goes_on=resume is not None)
        return learning.finish(found, told_apart.key if told_apart else None)


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


@dataclass(frozen=True)
class _Fitted:
    """A model that has learnt: its encoder, the same as it is served, its heads, and what it says of held-out rows.

    Where this one learnt from all rows, `out` and `outcome` are those of one that learnt in the same way from fewer,
    and `stranger` is the encoder of that one as it is served.
    """

    encoder: Encoder
    ready: Encoder
    network: CaseModel
    out: HeldOut
    outcome: Outcome
    learns: Tensor
    stranger: Encoder | None = None


@dataclass(frozen=True)
class _Learning:
    """What a training needs to know of its rows, read once."""

    rows: Sequence[Example]
    schema: Schema
    heads: Sequence[Head]
    config: TrainConfig
    cut: list[Pieces]
    pooled: Sequence[Target]
    spans: Sequence[SpanTarget]
    teachers: Sequence[str]
    tell: OnProgress

    @classmethod
    def read(
        cls,
        rows: Sequence[Example],
        schema: Schema,
        keys: Sequence[str],
        config: TrainConfig,
        encoder: Encoder,
        teachers: Teachers | None,
        tell: OnProgress,
    ) -> _Learning:
        """Cut the texts, and read their labels and what teachers say of them."""
        texts, heads = [row.text for row in rows], [schema.head(key) for key in keys]
        cut = encoder.splitter.split(texts)
        n_words = [len(one.words) for one in cut]
        lessons = teachers.teach(heads, texts, n_words, config, tell) if teachers else {}
        spans = [SpanTarget.read(head, rows, cut, lessons.get(head.key)) for head in heads if head.kind == Kind.SPANS]
        pooled, hashes = targets.read(schema, keys, rows, lessons), teachers.hashes if teachers else ()
        return cls(rows, schema, heads, config, cut, pooled, spans, hashes, tell)

    def fit(self, encoder: Encoder, ready: Encoder, is_out: Tensor, *, after: _Fitted | None = None) -> _Fitted:
        """Train heads on what an encoder gives.

        Args:
            ready: the encoder as it is served.
            is_out: the rows that each copy leaves out, (K, n).
            after: a model that said how long to learn, and what the size of weights costs, where no row is left out.
        """
        network = models.build(self.schema, [head.key for head in self.heads], ready, copies=len(is_out))
        tagged = {row for target in self.spans for row in target.teaches.nonzero().flatten().tolist()}
        cases = frozen.encode(network, ready, [row.text for row in self.rows], self.cut, tagged, self.tell)
        pooled = after.out.pooled if after else self._with_penalties(network, cases, is_out)
        out = HeldOut(is_out, self.rows, pooled, self.spans, self.cut)
        until = after.outcome.epoch if after else None
        outcome = frozen.fit(network, cases, pooled, self.spans, out, self.config, self.tell, until=until)
        learns = ~is_out[-1]
        if after:
            return _Fitted(encoder, ready, network, after.out, after.outcome, learns, stranger=after.ready)
        return _Fitted(encoder, ready, network, out, outcome, learns)

    def tell_apart(self, encoder: Encoder, head: Head, is_out: Tensor, *, after: _Fitted | None = None) -> _Fitted:
        """Let the encoder learn to tell the labels of a head apart, and train heads on what it then gives."""
        learnt = contrast.learn(encoder, head, _of(self.rows, ~is_out[0]), self.config, self.tell)
        return self.fit(learnt, served.export(learnt, INT8), is_out, after=after)

    def tune(self, found: _Fitted, saves: Savepoints | None, *, goes_on: bool) -> _Fitted:
        """Let the encoder's upper layers learn with the heads."""
        begun = found.network, found.encoder, found.out, found.outcome
        encoder, outcome = tuning.tune(*begun, self.config, self.tell, saves=saves, goes_on=goes_on)
        ready = found.ready
        if encoder.tuned:
            ready = served.export(encoder, INT8)
            texts = [row.text for row in self.rows]
            outcome = frozen.measure_again(found.network, ready, texts, found.out, outcome, self.tell)
        return replace(found, encoder=encoder, ready=ready, outcome=outcome)

    def finish(self, found: _Fitted, told_apart: str | None) -> TrainedModel:
        """Calibrate and measure on the held-out rows, and keep the last copy, which learnt from every row it may."""
        out, outcome, network = found.out, found.outcome, found.network
        rows, scores = out.of_strangers(outcome)
        logits: dict[str, Any] = dict(scores)
        for target in out.tagged:
            logits[target.head.key] = [outcome.tags[target.head.key].get(row) for row in rows]
        held = [self.rows[row] for row in rows]
        words = [self.cut[row].words for row in rows]
        truth = [row.labels for row in held]
        trained = _of(self.rows, found.learns)
        common = [row.labels for row in trained]
        learnt = calibration.fit(self.schema, logits, truth, words=words, learnt_from=common)
        given = calibration.predictions_of_strangers(self.schema, logits, truth, words=words, learnt_from=common)
        return TrainedModel(
            schema=self.schema,
            config=self.config,
            encoder=found.encoder,
            served=found.ready,
            network=_last(network, found.encoder.width),
            calibration=learnt,
            counts={
                "train": {key: sum(key in row.labels for row in trained) for key in network.keys},
                "held_out": {key: sum(key in row.labels for row in held) for key in network.keys},
            },
            faults={target.head.key: asdict(target.faults) for target in self.spans},
            metrics=metrics.evaluate(self.schema, held, given),
            epochs=outcome.epoch,
            held_out=held,
            teachers=self.teachers,
            told_apart=told_apart,
            surrogates=leaks.measure(self.schema, held, given) if out.tagged else None,
            is_of_all_rows=told_apart is not None and bool(found.learns.all()),
            familiarity=self._familiarity(found, trained, held),
        )

    def _familiarity(self, found: _Fitted, trained: Sequence[Example], held: Sequence[Example]) -> Familiarity | None:
        """Find what is familiar. The limit is that of an encoder to which the held-out rows are strangers."""
        seed = self.config.seed
        learnt, outside = familiarity.chosen(trained, held, seed=seed)
        n_learnt, texts = len(learnt), [row.text for row in (*learnt, *outside)]

        def fitted(encoder: Encoder) -> Familiarity | None:
            means = encoder.means(texts).numpy()
            return familiarity.fit(means[:n_learnt], means[n_learnt:], seed=seed)

        known = fitted(found.ready)
        if known is None or found.stranger is None:
            return known
        strange = fitted(found.stranger)
        return strange and replace(known, least=strange.least)

    def _with_penalties(self, network: CaseModel, cases: Cases, is_out: Tensor) -> list[Target]:
        """Choose what the size of each head's weights costs."""
        means = (cases.means - network.centre) / network.spread
        found = []
        for target in self.pooled:
            if target.head.kind == Kind.RUBRIC:  # Its weights are others, whose size matters little
                found.append(target)
                continue
            likeness = network.head(target.head.key).standard(cases.likeness[target.head.key]).mean(dim=1)
            found.append(replace(target, penalty=penalties.choose(means, likeness, target, is_out, self.config)))
        return found


def _of(rows: Sequence[Example], chosen: Tensor) -> list[Example]:
    return [row for row, is_chosen in zip(rows, chosen.tolist(), strict=True) if is_chosen]


def _last(network: CaseModel, width: int) -> CaseModel:
    """Return a network with the last copy alone."""
    single = CaseModel(network.heads, width)
    has_copies = {name for name, _ in network.named_parameters() if name.startswith("pooled.")}
    state = network.state_dict()
    single.load_state_dict({name: value[-1:] if name in has_copies else value for name, value in state.items()})
    return single.eval()
