"""The heads learn on what the frozen encoder gave, in seconds: all of the fast profile, and the start of the full one.

Copies of the heads learn side by side in the same pass, each without one fold of the rows, and one on all of them. The
folds that the copies did not see say when to stop and how to calibrate, so that no row has to be given up for it. Heads
of spans have thousands of words to learn from and one copy, which leaves out the first fold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ml import model as models
from ml import spans
from ml.config import TrainConfig
from ml.encoder import Encoder, fastest_dtype, mean_of
from ml.held_out import HeldOut, Outcome, Tags, Watch
from ml.model import CaseModel
from ml.pieces import Pieces
from ml.progress import OnProgress, Progress
from ml.schema import Kind
from ml.targets import SpanTarget, Target

FEWEST_WORD_BATCHES = 32  # Of an epoch, made up by passing over the same rows again
TEXTS_TO_SCORE = 64  # At once, when nothing is learnt


@dataclass(frozen=True, slots=True)
class Cases:
    """Encoded texts.

    pieces: how each was cut.
    phrases: (V, W) of each.
    means: of the word pieces of each, (n, W).
    likeness: to the label texts of each head that answers a case as a whole, (n, L, C).
    words and shapes: (N, W) and (N, S) of each text whose words are to be tagged.
    """

    pieces: list[Pieces]
    phrases: list[Tensor]
    means: Tensor
    likeness: dict[str, Tensor]
    words: dict[int, Tensor]
    shapes: dict[int, Tensor]

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return phrases (B, V, W), which are real (B, V), and likeness of some rows, as the model takes them."""
        parts = [self.phrases[row] for row in rows.tolist()]
        lengths = torch.tensor([len(part) for part in parts])
        phrases = pad_sequence(parts, batch_first=True)
        is_real = torch.arange(phrases.shape[1])[None] < lengths[:, None]
        return phrases, is_real, {key: values[rows] for key, values in self.likeness.items()}

    def tags(self, network: CaseModel, rows: Sequence[int]) -> dict[str, list[Tensor]]:
        """Score the words of some rows: one (N, 1 + 2 C) of each for each head of spans, float32.

        The texts are laid end to end, so that nothing is computed on padding. Between each two there is one word that
        is none, and so no word's neighbour is that of another text.
        """
        words, shapes = (_end_to_end([kept[row] for row in rows]) for kept in (self.words, self.shapes))
        lengths = [len(self.words[row]) + 1 for row in rows]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=fastest_dtype() == torch.bfloat16):
            found = network.tag(words, shapes)
        return {key: [part[:-1] for part in torch.split(scores[0].float(), lengths)] for key, scores in found.items()}


def encode(
    network: CaseModel,
    encoder: Encoder,
    texts: Sequence[str],
    cut: list[Pieces],
    tagged: set[int],
    tell: OnProgress,
    *,
    is_new: bool = True,
) -> Cases:
    """Run the frozen encoder over all texts once.

    Args:
        cut: what the encoder's splitter gave for the texts.
        tagged: rows whose words are to be tagged; those of the others are not kept.
        is_new: whether the network has still to learn from these texts what is usual.
    """
    means = torch.zeros(len(texts), encoder.width)
    cases = Cases(cut, [torch.empty(0)] * len(texts), means, {}, {}, {})
    for key in network.pooled_keys:
        cases.likeness[key] = torch.zeros(len(texts), *network.head(key).centre.shape)
    done = 0
    for batch in encoder.batches(texts, cases.pieces):
        means[batch.rows] = mean_of(batch.tokens, batch.mask)
        found, is_real = models.phrases_of(batch.tokens, batch.mask)
        for key, values in network.likeness(means[batch.rows], found, is_real).items():
            cases.likeness[key][batch.rows] = values
        for at, row in enumerate(batch.rows):
            cases.phrases[row] = found[at][is_real[at]].to(fastest_dtype())
            if row in tagged:
                cases.words[row] = batch.tokens[at][torch.from_numpy(cut[row].firsts)].to(fastest_dtype())
                cases.shapes[row] = torch.from_numpy(spans.shapes(texts[row], cut[row].words)).to(fastest_dtype())
        done += len(batch.rows)
        tell(Progress("encode", done, len(texts)))
    if is_new:
        _standardise(network, cases)
    return cases


def _standardise(network: CaseModel, cases: Cases) -> None:
    network.centre.copy_(cases.means.mean(dim=0))
    network.spread.copy_(cases.means.std(dim=0, correction=0).clamp(min=models.FLATTEST))
    for key in network.pooled_keys:
        network.head(key).standardise(cases.likeness[key])


def fit(
    network: CaseModel,
    cases: Cases,
    pooled: Sequence[Target],
    tagged: Sequence[SpanTarget],
    held_out: HeldOut,
    config: TrainConfig,
    tell: OnProgress,
    *,
    until: int | None = None,
) -> Outcome:
    """Train all copies of the heads, and leave them as they were at the epoch that was best on held-out rows.

    Args:
        until: the epoch to stop after, which another training found best, where no row is held out.
    """
    learns = ~held_out.is_out
    weights = [target.weights(learns, balance=config.balance, heaviest=config.heaviest) for target in pooled]
    taggers = [*network.taggers.parameters()]
    heads = [value for name, value in network.named_parameters() if not name.startswith("taggers.")]
    groups: list[dict[str, Any]] = [{"params": heads}, {"params": taggers, "lr": config.span_learning_rate}]
    optimiser = torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=0.0, fused=True)
    steps = sum(1 for _ in _batches(len(cases.phrases), pooled, tagged, learns, config))
    rates = schedule(optimiser, config.epochs * steps, config.warm_up)
    begun = held_out.measure(0, *_scored(network, cases, tagged, held_out))
    watch, kept = Watch(begun, patience=config.patience), copy_of(network)
    last = config.epochs if until is None else until
    for epoch in range(1, last + 1):
        for is_tagging, rows in _batches(len(cases.phrases), pooled, tagged, learns, config):
            optimiser.zero_grad()
            if is_tagging:
                loss = _tagging_loss(network, cases, tagged, rows, learns[0])
            else:
                loss = _pooled_loss(network, cases, pooled, weights, rows, learns, config)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            rates.step()
        found = held_out.measure(epoch, *_scored(network, cases, tagged, held_out))
        tell(Progress("train", epoch, config.epochs, found.loss, found.figures, epoch))
        if watch.sees(found) or until is not None:
            kept = copy_of(network)
        elif watch.is_over_at(epoch):
            break
    network.load_state_dict(kept)
    take_out_weights(network, held_out, watch.best, config)
    return watch.best


def take_out_weights(network: CaseModel, held_out: HeldOut, outcome: Outcome, config: TrainConfig) -> None:
    """Take out of the scores what weighting rare labels put in, so that probabilities are those of real cases.

    Rare labels are learnt better for having counted more, but a model of weighted rows expects them too often.

    Source: Elkan (2001), The Foundations of Cost-Sensitive Learning, theorem 2.
    """
    for target in held_out.pooled:
        if target.head.kind == Kind.CHOICE:
            rarity = target.rarity(~held_out.is_out, balance=config.balance, heaviest=config.heaviest).log()  # (K, C)
            with torch.no_grad():
                network.head(target.head.key).bias.sub_(rarity)
            outcome.logits[target.head.key] -= rarity[:, None]


def penalty_of(network: CaseModel, target: Target, config: TrainConfig) -> Tensor:
    """Return what the size of a head's weights costs."""
    head = network.head(target.head.key)
    if isinstance(head, models.EvidenceHead):
        return config.evidence_penalty * head.evidence.square().sum()
    assert isinstance(head, models.PooledHead)  # noqa: S101 - there are two kinds
    return target.penalty * head.weight.square().sum() + config.query_penalty * head.query.square().sum()


def schedule(optimiser: torch.optim.Optimizer, steps: int, warm_up: float) -> torch.optim.lr_scheduler.LambdaLR:
    """Let the learning rate rise over the warm-up, a share of the steps, and then fall to 0 in a straight line."""
    rising = max(1, round(warm_up * steps))
    falling = max(1, steps - rising)
    return torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / rising, max(0.0, 1.0 - (step - rising) / falling))
    )


def copy_of(network: torch.nn.Module) -> dict[str, Tensor]:
    """Return the weights as they are now."""
    return {name: value.clone() for name, value in network.state_dict().items()}


def _batches(
    n_rows: int, pooled: Sequence[Target], tagged: Sequence[SpanTarget], learns: Tensor, config: TrainConfig
) -> Iterator[tuple[bool, Tensor]]:
    """Yield the batches of an epoch, those of words and those of whole cases interleaved at random."""
    found: list[tuple[bool, Tensor]] = []
    if pooled:
        for _ in range(config.passes):
            found += [(False, rows) for rows in torch.split(torch.randperm(n_rows), config.batch_size)]
    if tagged:
        is_tagged = torch.stack([target.teaches for target in tagged]).any(dim=0) & learns[0]
        rows = is_tagged.nonzero().flatten()
        passes = max(1, min(config.passes, FEWEST_WORD_BATCHES * config.span_batch_size // max(1, len(rows))))
        for _ in range(passes):
            shuffled = rows[torch.randperm(len(rows))]
            found += [(True, part) for part in torch.split(shuffled, config.span_batch_size) if len(part)]
    for at in torch.randperm(len(found)).tolist():
        yield found[at]


def _pooled_loss(
    network: CaseModel,
    cases: Cases,
    pooled: Sequence[Target],
    weights: Sequence[Tensor],
    rows: Tensor,
    learns: Tensor,
    config: TrainConfig,
) -> Tensor:
    scores, _ = network.answer(*cases.batch(rows))
    total = torch.zeros(())
    for target, weight in zip(pooled, weights, strict=True):
        lost = target.lost(scores[target.head.key], rows, weight, learns)  # (K, B)
        total = total + lost.sum() / len(rows) + penalty_of(network, target, config)
    return total


def _tagging_loss(
    network: CaseModel, cases: Cases, tagged: Sequence[SpanTarget], rows: Tensor, learns: Tensor
) -> Tensor:
    network.taggers.train()
    chosen = rows.tolist()
    tags = cases.tags(network, chosen)
    losses = [target.loss(pad_sequence(tags[target.head.key], batch_first=True), chosen, learns) for target in tagged]
    return torch.stack(losses).sum()


def _end_to_end(parts: Sequence[Tensor]) -> Tensor:
    """Lay tensors (N, S) end to end, each with a row of zeros after it: (1, sum of N + 1, S)."""
    gap = parts[0].new_zeros(1, parts[0].shape[1])
    return torch.cat([one for part in parts for one in (part, gap)])[None]


def _scored(
    network: CaseModel, cases: Cases, tagged: Sequence[SpanTarget], held_out: HeldOut
) -> tuple[dict[str, Tensor], dict[str, Tags]]:
    """Score all cases by all copies, (K, n, C) for each head, and the words of the held-out ones."""
    network.eval()
    with torch.no_grad():
        parts = [
            network.answer(*cases.batch(rows))[0]
            for rows in torch.split(torch.arange(len(cases.phrases)), TEXTS_TO_SCORE)
        ]
        tags: dict[str, Tags] = {target.head.key: {} for target in tagged}
        for target in tagged:
            wanted = held_out.tagged_rows(target)
            for start in range(0, len(wanted), TEXTS_TO_SCORE):
                rows = wanted[start : start + TEXTS_TO_SCORE]
                scores = cases.tags(network, rows)[target.head.key]
                tags[target.head.key] |= {row: one.numpy() for row, one in zip(rows, scores, strict=True)}
    return {key: torch.cat([part[key] for part in parts], dim=1) for key in network.pooled_keys}, tags


def measure_again(
    network: CaseModel, encoder: Encoder, texts: Sequence[str], out: HeldOut, outcome: Outcome, tell: OnProgress
) -> Outcome:
    """Score the held-out rows with the encoder as it is served.

    Args:
        network: heads of one copy.
        outcome: what they said before; its scores of the other rows stay.
    """
    held = out.is_out[0].nonzero().flatten().tolist()
    cut = [out.pieces[row] for row in held]
    part = HeldOut(
        torch.ones(1, len(held), dtype=torch.bool),
        [out.examples[row] for row in held],
        [target.of(held) for target in out.pooled],
        [target.of(held) for target in out.tagged],
        cut,
    )
    tagged = {row for target in part.tagged for row in part.tagged_rows(target)}
    cases = encode(network, encoder, [texts[row] for row in held], cut, tagged, tell, is_new=False)
    logits, tags = _scored(network, cases, part.tagged, part)
    for key, scores in logits.items():
        outcome.logits[key][:, held] = scores
    return out.measure(
        outcome.epoch,
        outcome.logits,
        {key: {held[at]: one for at, one in found.items()} for key, found in tags.items()},
    )
