"""How much the size of a head's weights costs: much where answers are hard to tell from texts, else little.

Nothing else decides as much of what a head learns, and no one value fits all. So several are tried at once on the means
of the texts, which takes a second, and the one that does best on held-out rows is taken.

Sizes as in `ml.model`; P penalties, and F copies of the rows of which each leaves out a part.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ml.config import TrainConfig
from ml.targets import Target

PENALTIES = (2.0, 0.7, 0.2, 0.07, 0.02, 0.007, 0.002, 0.0007)  # On the sum of the squared weights
USUAL = 0.5  # Where no row is held out
MOST_FOLDS = 2  # More take longer and hardly change what is chosen
STEPS = 60
RATE = 0.05


def choose(means: Tensor, likeness: Tensor, target: Target, is_out: Tensor, config: TrainConfig) -> float:
    """Return the penalty under which a head answers held-out rows best, by their loss.

    Args:
        means: of the word pieces of each text, standardised, (n, W).
        likeness: to the texts of the head's labels, standardised, (n, C).
        target: the head's labels.
        is_out: the rows that each copy leaves out, (K, n).
    """
    if config.penalty is not None:
        return config.penalty
    measured = is_out & target.rows
    is_out = is_out[measured.any(dim=1)][:MOST_FOLDS]
    if not len(is_out):
        return USUAL
    folds = len(is_out)
    outs = is_out.repeat(len(PENALTIES), 1)  # (P F, n): the folds of the first penalty first
    costs = torch.tensor(PENALTIES).repeat_interleave(folds)
    weights = target.weights(~outs, balance=config.balance, heaviest=config.heaviest)
    rows = torch.arange(means.shape[0])
    matrix = torch.zeros(means.shape[1], len(outs), target.n_outputs, requires_grad=True)
    bias = torch.zeros(len(outs), 1, target.n_outputs, requires_grad=True)
    trust = torch.ones(len(outs), 1, 1, requires_grad=True)
    optimiser = torch.optim.Adam([matrix, bias, trust], lr=RATE, fused=True)
    falling = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, STEPS)

    def losses() -> Tensor:
        learnt = (means @ matrix.flatten(1)).view(len(means), *matrix.shape[1:]).transpose(0, 1)  # (P F, n, C)
        return target.losses(learnt + bias + trust * likeness, rows)

    for _ in range(STEPS):
        optimiser.zero_grad()
        lost = (losses() * weights).sum(dim=1) / weights.sum(dim=1)
        loss = lost.sum() + (costs * matrix.square().sum(dim=(0, 2))).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        falling.step()
    with torch.no_grad():
        counted = (outs & target.rows).float()
        held_out = (losses() * counted).sum(dim=1) / counted.sum(dim=1)
    return PENALTIES[int(held_out.view(len(PENALTIES), folds).mean(dim=1).argmin())]
