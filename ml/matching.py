"""A smaller encoder that gives nearly the same vectors: some layers of a larger one, taught to stand for all of them.

The layers that stay learn the vectors that the whole encoder gives to each word piece, from texts without labels
(Sanh et al. 2019, DistilBERT; Jiao et al. 2020, TinyBERT). What was learnt on top of these vectors then means the same.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ml import frozen, pieces, tuning
from ml.config import TrainConfig
from ml.encoder import Encoder
from ml.pieces import Pieces
from ml.progress import OnProgress, Progress


def shrink(encoder: Encoder, texts: Sequence[str], config: TrainConfig, tell: OnProgress) -> Encoder:
    """Return an encoder with `config.layers` layers that gives nearly what this one does to texts like these.

    Raises:
        EncoderError: the encoder has no list of layers, or fewer than are wanted.
    """
    small = encoder.shallower(config.layers or len(encoder.layers))
    upper = tuning.Upper.above(small, len(small.layers))
    cut = small.splitter.split(texts)
    optimiser = torch.optim.AdamW(upper.weights, lr=config.match_rate, weight_decay=config.tune_decay)
    steps = config.match_epochs * -(-len(texts) // config.tune_batch_size)
    schedule = frozen.schedule(optimiser, steps, config.warm_up)
    done = 0
    with tempfile.TemporaryDirectory(prefix="caseloop-matching-") as folder:
        states = tuning.below(small, upper.depth, cut, Path(folder), tell)
        upper.network.train()
        for _ in range(config.match_epochs):
            for rows in _batches(cut, config.tune_batch_size):
                batch = [cut[row] for row in rows]
                wanted, is_real = _vectors(encoder, [texts[row] for row in rows], batch)
                windows = small.windows(batch)
                found = upper.forward(states.batch(rows, windows.ids.shape[1]), windows).float()
                loss = (found - wanted)[is_real].square().mean() / wanted[is_real].square().mean()
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(upper.weights, tuning.LARGEST_GRADIENT)
                optimiser.step()
                schedule.step()
                done += 1
                tell(Progress("match", done, steps, float(loss.detach())))
    return upper.put_into(small)


def _batches(cut: Sequence[Pieces], size: int) -> Iterator[list[int]]:
    """Yield the batches of an epoch in random order, each of texts of similar length."""
    found = tuning.batches(range(len(cut)), size, lambda row: len(cut[row].ids))
    for at in torch.randperm(len(found)).tolist():
        yield found[at]


def _vectors(encoder: Encoder, texts: Sequence[str], cut: Sequence[Pieces]) -> tuple[Tensor, Tensor]:
    """Return what the encoder gives to the word pieces of some texts, (B, T, W), and which of them are real, (B, T)."""
    longest = pieces.rounded(max(len(one.ids) for one in cut))
    found = torch.zeros(len(texts), longest, encoder.width)
    is_real = torch.zeros(len(texts), longest, dtype=torch.bool)
    for batch in encoder.batches(texts, cut):
        found[batch.rows, : batch.tokens.shape[1]] = batch.tokens.float()
        is_real[batch.rows, : batch.tokens.shape[1]] = batch.mask
    return found, is_real
