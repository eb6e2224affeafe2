from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ml import penalties
from ml.config import TrainConfig
from ml.targets import Target
from tests import tiny

SCHEMA = tiny.toy_schema()
PLACE = SCHEMA.head("place")
CONFIG = TrainConfig()


def ready(noise: float, n: int = 200, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, Target, torch.Tensor]:
    """Return texts of which one dimension in 16 tells the answer, behind some noise."""
    draw = torch.Generator().manual_seed(seed)
    means = torch.randn(n, 16, generator=draw)
    tells = means[:, 0] + noise * torch.randn(n, generator=draw) > 0
    target = Target(PLACE, tells.long(), torch.ones(n, 1, dtype=torch.bool))
    out = torch.stack([torch.arange(n) % 4 == fold for fold in range(4)] + [torch.zeros(n, dtype=torch.bool)])
    return means, torch.zeros(n, 2), target, out


def test_answers_that_are_clear_cost_less_than_those_that_are_hard_to_tell() -> None:
    clear, blurred, random = (penalties.choose(*ready(noise), CONFIG) for noise in (0.0, 1.0, 50.0))
    assert clear < blurred < random
    assert random == max(penalties.PENALTIES)


def test_what_the_label_texts_tell_already_need_not_be_learnt() -> None:
    means, _, target, out = ready(1.0, n=60)
    told = torch.stack([target.value == 0, target.value == 1], dim=1) * 6.0
    alone = penalties.choose(means, torch.zeros(60, 2), target, out, CONFIG)
    assert penalties.choose(means, told, target, out, CONFIG) > alone


@pytest.mark.parametrize("kind", ["mood", "manner"])
def test_heads_of_every_kind_have_one(kind: str) -> None:
    head = SCHEMA.head(kind)
    target = Target.read(head, tiny.cases(64))
    means = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    out = (torch.arange(64) % 4 == 0)[None]
    assert penalties.choose(means, torch.zeros(64, target.n_outputs), target, out, CONFIG) in penalties.PENALTIES


def test_one_that_is_given_is_taken_and_the_usual_one_where_nothing_is_held_out() -> None:
    means, likeness, target, out = ready(1.0)
    assert penalties.choose(means, likeness, target, out, replace(CONFIG, penalty=0.3)) == 0.3
    assert penalties.choose(means, likeness, target, out[-1:], CONFIG) == penalties.USUAL
