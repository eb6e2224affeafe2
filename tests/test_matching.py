"""Smaller encoders that stand for larger ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ml import export, matching, training
from ml.encoder import Encoder, EncoderError
from ml.progress import Progress, ignore
from tests import tiny

TEXTS = [row.text for row in tiny.cases(60)]
CONFIG = replace(tiny.QUICK, layers=1, match_epochs=20, match_rate=5e-3)


@pytest.mark.parametrize(("count", "kept"), [(1, (2,)), (2, (0, 2)), (3, None)])
@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta"])
def test_layers_are_left_out_evenly_and_the_last_stays(
    other_encoder: Callable[[str], Encoder], kind: str, count: int, kept: tuple[int, ...] | None
) -> None:
    encoder = other_encoder(kind)
    small = encoder.shallower(count)
    assert (small.kept, len(small.layers), len(encoder.layers)) == (kept, count, 3)
    own = [dict(layer.named_parameters()) for layer in (small.layers[-1], encoder.layers[-1])]
    assert all(torch.equal(weight, own[1][name]) for name, weight in own[0].items())
    assert (small.digest == encoder.digest) == (count == 3)
    assert torch.equal(small.means(["ship"]), encoder.means(["ship"])) == (count == 3)


def test_layers_are_counted_as_those_of_the_whole_encoder(other_encoder: Callable[[str], Encoder]) -> None:
    assert other_encoder("bert").shallower(2).shallower(1).kept == (2,)


def test_more_layers_than_there_are_is_refused(tiny_encoder: Encoder) -> None:
    with pytest.raises(EncoderError, match="has 2 layers; expected 1 to 2, found 3"):
        tiny_encoder.shallower(3)


def test_what_is_left_learns_to_give_the_vectors_of_the_whole(tiny_encoder: Encoder) -> None:
    told: list[Progress] = []
    unseen = [row.text for row in tiny.cases(40, seed=9)]
    small = matching.shrink(tiny_encoder, TEXTS, CONFIG, told.append)
    whole = tiny_encoder.means(unseen)
    before, after = ((one.means(unseen) - whole).square().mean() for one in (tiny_encoder.shallower(1), small))
    assert after < before / 2
    told = [one for one in told if one.phase == "match"]
    assert [(one.done, one.total) for one in told] == [(at, 80) for at in range(1, 81)]
    assert told[-1].loss < told[0].loss / 2


def test_a_smaller_model_is_saved_restored_and_goes_on(
    tiny_encoder: Encoder, tiny_exports: Path, tmp_path: Path
) -> None:
    rows = tiny.cases(100)
    trained = training.train(rows, tiny.toy_schema(), CONFIG, encoder=tiny_encoder, exports=tiny_exports)
    manifest = export.save(trained, tmp_path / "small")
    assert manifest["encoder"]["layers"] == [1]
    encoder = export.restore(tmp_path / "small")
    assert (encoder.digest, encoder.kept, len(encoder.layers)) == (trained.encoder.digest, (1,), 1)
    again = matching.shrink(encoder, TEXTS[:4], replace(CONFIG, match_epochs=1), ignore)
    assert again.kept == (1,)
