"""Training: `TrainConfig`, `train()`, and what comes out of it.

The fast profile runs the frozen encoder once, keeps its output in memory and trains the heads on it. Copies of the
heads learn side by side in the same pass, each without one fold of the rows, and one on all of them. The folds that the
copies did not see say when to stop and how to calibrate, so that no row has to be given up for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from ml import calibration, metrics
from ml import model as models
from ml.calibration import HeadCalibration
from ml.encoder import Encoder, mean_of
from ml.model import CaseModel
from ml.schema import Head, Kind, Schema
from ml.types import Answer, Example, Labels

FEWEST_EXAMPLES = 8  # Labelled examples of a head from which it learns


class TrainingError(ValueError):
    """There is too little, or nothing, to learn from."""


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Everything besides data and encoder that changes the result. Saved with the model."""

    profile: str = "fast"
    seed: int = 0
    folds: int = 4  # Parts of the rows that copies of the heads leave out, unless validation rows are given
    epochs: int = 40
    patience: int = 8  # Epochs without a lower loss on held-out rows, after which training stops
    batch_size: int = 64
    learning_rate: float = 0.02
    warm_up: float = 0.1  # Share of the steps
    penalty: float = 0.5  # On the squared weights of the output layers, which are far more than the rows
    query_penalty: float = 1.0  # On the squared attention queries: looking at few words overfits first
    balance: float = 0.5  # How rows of rare labels count while learning: 0 every row alike, 1 every label
    heaviest: float = 5.0  # Most that a row of a rare label counts


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a training is: `done` of `total` texts or epochs of a phase, with the last loss and metrics."""

    phase: str
    done: int
    total: int
    loss: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


OnProgress: TypeAlias = Callable[[Progress], None]  # May raise, which ends the training


@dataclass(frozen=True)
class TrainedModel:
    """What a training gives: heads, calibration, and how good it was on rows that it did not learn from.

    `counts` holds the labelled rows of each head; `metrics` is what `metrics.evaluate` returns.
    """

    schema: Schema
    config: TrainConfig
    encoder: Encoder
    network: CaseModel
    calibration: Mapping[str, HeadCalibration]
    counts: Mapping[str, Mapping[str, int]]
    metrics: Mapping[str, Any]
    epochs: int


def train(
    examples: Sequence[Example],
    schema: Schema,
    config: TrainConfig,
    *,
    encoder: Encoder,
    validation: Sequence[Example] | None = None,
    progress: OnProgress | None = None,
) -> TrainedModel:
    """Train the `choice` and `choices` heads that have labels enough.

    Args:
        examples: rows to learn from; any of their heads may be unlabelled.
        encoder: what `encoder.load` returned.
        validation: rows for early stopping and calibration; without them, folds of the examples serve.
        progress: called after each batch of texts and each epoch; what it raises ends the training.

    Raises:
        TrainingError: no head has labels enough, or the profile is not one that is known.
    """
    tell = progress or (lambda _: None)
    if config.profile != "fast":
        raise TrainingError(f"profile {config.profile!r} is not available in this version; expected 'fast'")
    keys = learnable(schema, examples)
    rows = [*examples, *(validation or [])]
    held_out = _held_out(len(examples), len(rows), config)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        network = models.build(schema, keys, encoder, copies=len(held_out))
        cases = encode(network, encoder, [row.text for row in rows], tell)
        targets = [Target.read(schema.head(key), rows) for key in keys]
        logits, epochs = fit(network, cases, targets, held_out, config, tell)
    truth = [row.labels for row in rows]
    return _finish(schema, config, encoder, network, logits, truth, held_out, epochs)


def learnable(schema: Schema, examples: Sequence[Example]) -> list[str]:
    """Return the heads that can learn from these examples.

    Raises:
        TrainingError: there is none.
    """
    heads = schema.of_kind(*models.LEARNT)
    counts = {head.key: sum(head.key in example.labels for example in examples) for head in heads}
    found = [key for key, count in counts.items() if count >= FEWEST_EXAMPLES]
    if not found:
        counted = ", ".join(f"{key}: {count}" for key, count in counts.items()) or "no head of kind choice or choices"
        raise TrainingError(f"no head has {FEWEST_EXAMPLES} labelled examples to learn from ({counted})")
    return found


@dataclass(frozen=True, slots=True)
class Cases:
    """Encoded texts: the phrases of each, (V, W), and its likeness to the label texts of each head, (n, L, C)."""

    phrases: list[Tensor]
    likeness: dict[str, Tensor]

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return phrases (B, V, W), which are real (B, V), and likeness of some rows, as the model takes them."""
        parts = [self.phrases[row] for row in rows.tolist()]
        lengths = torch.tensor([len(part) for part in parts])
        phrases = pad_sequence(parts, batch_first=True)
        is_real = torch.arange(phrases.shape[1])[None] < lengths[:, None]
        return phrases, is_real, {key: values[rows] for key, values in self.likeness.items()}


def encode(network: CaseModel, encoder: Encoder, texts: Sequence[str], tell: OnProgress) -> Cases:
    """Run the frozen encoder over all texts once, and set the network's idea of what is usual."""
    phrases: list[Tensor] = [torch.empty(0)] * len(texts)
    likeness = {key: torch.zeros(len(texts), *network.layer(key).centre.shape) for key in network.keys}
    means = torch.zeros(len(texts), encoder.width)
    done = 0
    for batch in encoder.batches(texts):
        means[batch.rows] = mean_of(batch.tokens, batch.mask)
        found, is_real = models.phrases_of(batch.tokens, batch.mask)
        for key, values in network.likeness(means[batch.rows], found, is_real).items():
            likeness[key][batch.rows] = values
        for at, row in enumerate(batch.rows):
            phrases[row] = found[at][is_real[at]]
        done += len(batch.rows)
        tell(Progress("encode", done, len(texts)))
    network.centre.copy_(means.mean(dim=0))
    network.spread.copy_(means.std(dim=0, correction=0).clamp(min=models.FLATTEST))
    for key in network.keys:
        network.layer(key).standardise(likeness[key])
    return Cases(phrases, likeness)


@dataclass(frozen=True, slots=True)
class Target:
    """The labels of one head: `is_known` (n,), and `value`, positions (n,) for choice or 0 and 1 (n, C) for choices."""

    head: Head
    value: Tensor
    is_known: Tensor

    @classmethod
    def read(cls, head: Head, rows: Sequence[Example]) -> Target:
        """Take one head's labels from examples."""
        answers: list[Answer | None] = [row.labels.get(head.key) for row in rows]
        if head.kind == Kind.CHOICE:  # A label that the schema has no more says nothing
            answers = [answer if answer in head.keys else None for answer in answers]
        is_known = torch.tensor([answer is not None for answer in answers])
        if head.kind == Kind.CHOICE:
            places = {key: at for at, key in enumerate(head.keys)}
            return cls(head, torch.tensor([places.get(str(answer), 0) for answer in answers]), is_known)
        held = [metrics.items(answer) if answer is not None else frozenset() for answer in answers]
        return cls(head, torch.tensor([[key in keys for key in head.keys] for keys in held]).float(), is_known)

    def losses(self, scores: Tensor, rows: Tensor) -> Tensor:
        """Return the loss of each row, in nats: scores (K, B, C) of these rows to (K, B)."""
        value = self.value[rows].expand(len(scores), *self.value[rows].shape)
        if self.head.kind == Kind.CHOICE:
            return functional.cross_entropy(scores.flatten(0, 1), value.flatten(), reduction="none").view(
                scores.shape[:2]
            )
        return functional.binary_cross_entropy_with_logits(scores, value, reduction="none").sum(dim=-1)

    def rarity(self, learns: Tensor, config: TrainConfig) -> Tensor:
        """Return how much a row of each label counts, (K, C), for copies that learn from some rows, (K, n)."""
        known = (learns & self.is_known).float()
        counts = (known @ self._held()).clamp(min=1.0)  # (K, C)
        rarity = known.sum(dim=1, keepdim=True) / counts / counts.shape[1]
        return (rarity**config.balance).clamp(max=config.heaviest)

    def weights(self, learns: Tensor, config: TrainConfig) -> Tensor:
        """Return how much each row counts, (K, n): as its rarest label, and 0 where a copy does not learn from it."""
        heaviest = (self._held()[None] * self.rarity(learns, config)[:, None]).amax(dim=-1)  # (K, n)
        return heaviest.where(heaviest > 0, 1.0) * (learns & self.is_known)  # A row that holds no label counts 1

    def _held(self) -> Tensor:
        """Return which labels each row holds, as 0 and 1, (n, C)."""
        is_choice = self.head.kind == Kind.CHOICE
        return functional.one_hot(self.value, len(self.head.keys)).float() if is_choice else self.value


def fit(
    network: CaseModel,
    cases: Cases,
    targets: Sequence[Target],
    is_held_out: Tensor,
    config: TrainConfig,
    tell: OnProgress,
) -> tuple[dict[str, Tensor], int]:
    """Train all copies of the heads, and leave them as they were at the epoch of the lowest held-out loss.

    Returns:
        The scores (K, n, C) of each head at that epoch, and which epoch it was, counted from 1.
    """
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=0.0)
    schedule = _schedule(optimiser, config, config.epochs * -(-len(cases.phrases) // config.batch_size))
    weights = [target.weights(~is_held_out, config) for target in targets]
    best, best_epoch, kept = float("inf"), 0, _copy(network)
    logits = scores_of(network, cases, config)
    for epoch in range(1, config.epochs + 1):
        for rows in torch.split(torch.randperm(len(cases.phrases)), config.batch_size):
            scores = network(*cases.batch(rows))
            loss = _loss(network, scores, targets, weights, rows, config)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
        found = scores_of(network, cases, config)
        losses = _held_out_losses(found, targets, is_held_out)
        mean = float(np.mean(list(losses.values()))) if losses else 0.0
        tell(Progress("train", epoch, config.epochs, mean, losses))
        if mean < best:
            best, best_epoch, kept, logits = mean, epoch, _copy(network), found
        elif epoch - best_epoch >= config.patience:
            break
    network.load_state_dict(kept)
    for target in targets:
        if target.head.kind == Kind.CHOICE:
            _undo_weights(network, logits, target, target.rarity(~is_held_out, config))
    return logits, best_epoch


def _schedule(optimiser: torch.optim.Optimizer, config: TrainConfig, steps: int) -> torch.optim.lr_scheduler.LambdaLR:
    """Let the learning rate rise over the warm-up, and then fall to 0 in a straight line."""
    warm_up = max(1, round(config.warm_up * steps))
    left = max(1, steps - warm_up)
    return torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / warm_up, max(0.0, 1.0 - (step - warm_up) / left))
    )


def _undo_weights(network: CaseModel, logits: dict[str, Tensor], target: Target, rarity: Tensor) -> None:
    """Take out of the scores what weighting rare labels put in, so that probabilities are those of real cases.

    Rare labels are learnt better for having counted more, but a model of weighted rows expects them too often.

    Source: Elkan (2001), The Foundations of Cost-Sensitive Learning, theorem 2.
    """
    shift = rarity.log()  # (K, C)
    with torch.no_grad():
        network.layer(target.head.key).bias.sub_(shift)
    logits[target.head.key] = logits[target.head.key] - shift[:, None]


def scores_of(network: CaseModel, cases: Cases, config: TrainConfig) -> dict[str, Tensor]:
    """Score all cases by all copies: (K, n, C) for each head."""
    with torch.no_grad():
        parts = [
            network(*cases.batch(rows)) for rows in torch.split(torch.arange(len(cases.phrases)), config.batch_size)
        ]
    return {key: torch.cat([part[key] for part in parts], dim=1) for key in network.keys}


def _loss(
    network: CaseModel,
    scores: Mapping[str, Tensor],
    targets: Sequence[Target],
    weights: Sequence[Tensor],
    rows: Tensor,
    config: TrainConfig,
) -> Tensor:
    total = torch.zeros(())
    for target, weight in zip(targets, weights, strict=True):
        losses = target.losses(scores[target.head.key], rows) * weight[:, rows]  # (K, B)
        total = total + losses.sum() / len(rows)
        layer = network.layer(target.head.key)
        total = total + config.penalty * layer.weight.square().sum() + config.query_penalty * layer.query.square().sum()
    return total


def _held_out_losses(scores: Mapping[str, Tensor], targets: Sequence[Target], is_held_out: Tensor) -> dict[str, float]:
    """Return the mean loss of each head over the rows that its copies did not learn from."""
    found = {}
    for target in targets:
        counted = is_held_out & target.is_known  # (K, n)
        losses = target.losses(scores[target.head.key], torch.arange(counted.shape[1]))
        if counted.any():
            found[target.head.key] = float(losses[counted].mean())
    return found


def _held_out(n_examples: int, n_rows: int, config: TrainConfig) -> Tensor:
    """Return which rows each copy leaves out, (K, n_rows): folds and then nothing, or the validation rows alone."""
    if n_rows > n_examples:
        return (torch.arange(n_rows) >= n_examples)[None]
    rng = np.random.default_rng(config.seed)
    fold = torch.from_numpy(rng.permutation(n_examples) % config.folds)
    return torch.stack([*(fold == number for number in range(config.folds)), torch.zeros_like(fold, dtype=torch.bool)])


def _finish(
    schema: Schema,
    config: TrainConfig,
    encoder: Encoder,
    network: CaseModel,
    logits: Mapping[str, Tensor],
    truth: Sequence[Labels],
    is_held_out: Tensor,
    epochs: int,
) -> TrainedModel:
    """Calibrate and measure on the held-out rows, and keep the last copy, which learnt from every row that it may."""
    rows, held = _scores_by_strangers(logits, is_held_out)
    labels = [truth[row] for row in rows]
    learnt = calibration.fit(schema, held, labels)
    given = calibration.predictions(schema, held, learnt)
    measured = [Example(id="", text="", labels=answers) for answers in labels]
    learns = (~is_held_out[-1]).tolist()
    return TrainedModel(
        schema=schema,
        config=config,
        encoder=encoder,
        network=_last(schema, network, encoder.width),
        calibration=learnt,
        counts={
            "train": {key: sum(key in row for row, does in zip(truth, learns, strict=True) if does) for key in held},
            "held_out": {key: sum(key in row for row in labels) for key in held},
        },
        metrics=metrics.evaluate(schema, measured, given),
        epochs=epochs,
    )


def _scores_by_strangers(
    logits: Mapping[str, Tensor], is_held_out: Tensor
) -> tuple[list[int], dict[str, NDArray[np.float64]]]:
    """Return the rows that a copy left out, and their scores by that copy, (n_rows, C) for each head."""
    rows = is_held_out.any(dim=0).nonzero().flatten()
    copy = is_held_out[:, rows].int().argmax(dim=0)
    return rows.tolist(), {key: values[copy, rows].double().numpy() for key, values in logits.items()}


def _last(schema: Schema, network: CaseModel, width: int) -> CaseModel:
    """Return a network with the last copy alone."""
    single = CaseModel([schema.head(key) for key in network.keys], width)
    parameters = {name for name, _ in network.named_parameters()}
    state = network.state_dict()
    single.load_state_dict({name: value[-1:] if name in parameters else value for name, value in state.items()})
    return single.eval()


def _copy(network: CaseModel) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def as_json(config: TrainConfig) -> dict[str, Any]:
    """Return the form of a configuration that files hold."""
    return asdict(config)
