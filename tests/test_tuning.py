from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ml import frozen, tuning
from ml.encoder import Encoder, mean_of
from ml.progress import ignore
from ml.tuning import Tuning, Upper
from tests import test_frozen, tiny

CONFIG = replace(tiny.QUICK, profile="full", validation_share=0.3)
LONG = " ".join(["the ship was there and then we saw one"] * 20)


def tuning_of(encoder: Encoder, count: int, tmp_path: Path, rows: list | None = None) -> Tuning:
    rows = rows or [*tiny.cases(30), replace(tiny.cases(1)[0], text=LONG, labels={"place": "sea"})]
    network, _, out = test_frozen.ready(encoder, rows, CONFIG)
    upper = Upper.above(encoder, count)
    states = tuning.below(encoder, upper.depth, out.pieces, tmp_path, ignore)
    both = torch.nn.ModuleList([upper.network, network]).eval()
    assert not any(part.training for part in both.modules())
    return Tuning(network, encoder, upper, states, out, CONFIG)


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta", "electra"])
@pytest.mark.parametrize("count", [1, 3, 9])
def test_before_anything_is_learnt_the_upper_layers_give_what_the_whole_encoder_does(
    other_encoder: Callable[[str], Encoder], kind: str, count: int, tmp_path: Path
) -> None:
    encoder = other_encoder(kind)
    found = tuning_of(encoder, count, tmp_path)
    assert found.upper.depth == max(0, 3 - count)
    rows = list(range(25, 31))  # The last is read in several windows
    tokens, mask = found._read(rows)
    for batch in encoder.batches([found.out.examples[row].text for row in rows]):
        for at, row in enumerate(batch.rows):
            own = tokens[row][mask[row]]
            torch.testing.assert_close(own, batch.tokens[at][batch.mask[at]].float(), atol=0.06, rtol=0.05)


def test_the_heads_see_what_they_see_in_the_model_itself(tiny_encoder: Encoder, tmp_path: Path) -> None:
    found = tuning_of(tiny_encoder, 1, tmp_path)
    rows = [3, 9, 30]
    with torch.no_grad():
        tokens, mask = found._read(rows)
        expected = found.network.likeness(mean_of(tokens, mask), *frozen.models.phrases_of(tokens, mask))
        scores = found._answer(tokens, mask)
        measured = found._measure(1)
    assert set(scores) == set(expected) == {"place", "thing", "mood", "manner"}
    held = found.out.is_out[0].nonzero().flatten().tolist()
    assert sorted(measured.tags["names"]) == [row for row in held if row != 30]
    for key, values in measured.logits.items():
        learns = ~found.out.is_out[0]
        assert (values[0, learns] == 0).all(), "only held-out rows are measured"
        if set(rows) & set(held):
            at = next(at for at, row in enumerate(rows) if row in held)
            torch.testing.assert_close(values[0, rows[at]], scores[key][0, at], atol=0.05, rtol=0.05)


def test_only_the_upper_layers_and_the_heads_can_learn(tiny_encoder: Encoder, tmp_path: Path) -> None:
    found = tuning_of(tiny_encoder, 1, tmp_path)
    weights = found.out.pooled[0].weights(~found.out.is_out, balance=0.5, heaviest=5.0)
    others = [target.weights(~found.out.is_out, balance=0.5, heaviest=5.0) for target in found.out.pooled[1:]]
    learns = (~found.out.is_out[0]).nonzero().flatten().tolist()
    found._loss(learns[:8], [weights, *others]).backward()
    layers = {id(value) for layer in found.upper.layers for value in layer.parameters()}
    assert all((value.grad is not None) == (id(value) in layers) for value in found.upper.network.parameters())
    assert len(layers) == 16
    before = frozen.copy_of(tiny_encoder.network)
    with torch.no_grad():
        next(found.upper.layers[0].parameters()).add_(1.0)
    assert all(torch.equal(before[name], value) for name, value in tiny_encoder.network.state_dict().items())


def test_batches_hold_one_task_and_texts_of_like_length(tiny_encoder: Encoder, tmp_path: Path) -> None:
    rows = [replace(case, text=" ".join(["the"] * (1 + at % 40))) for at, case in enumerate(tiny.cases(120))]
    found = tuning_of(tiny_encoder, 1, tmp_path, rows)
    tasks = [list(range(70)), list(range(70, 120))]
    batches = list(found._batches(tasks))
    assert sorted(row for batch in batches for row in batch) == list(range(120))
    assert all(len(batch) <= CONFIG.tune_batch_size for batch in batches)
    assert all(len({row < 70 for row in batch}) == 1 for batch in batches)
    spread = [max(map(found._length, batch)) - min(map(found._length, batch)) for batch in batches]
    assert max(spread) <= 15
    assert [min(batch) for batch in batches] != sorted(min(batch) for batch in batches), "in random order"


def test_layers_that_are_put_into_an_encoder_are_those_that_learnt(tiny_encoder: Encoder, tmp_path: Path) -> None:
    found = tuning_of(tiny_encoder, 1, tmp_path)
    with torch.no_grad():
        for value in found.upper.layers[0].parameters():
            value.mul_(1.25)
    after = found.upper.put_into(tiny_encoder)
    assert all(name.startswith("encoder.layer.1.") for name in after.tuned)
    tokens, mask = found._read([0])
    [batch] = after.batches([found.out.examples[0].text])
    torch.testing.assert_close(tokens[0][mask[0]], batch.tokens[0][batch.mask[0]].float(), atol=0.06, rtol=0.05)


def test_where_no_epoch_is_better_everything_stays_as_the_frozen_encoder_left_it(tiny_encoder: Encoder) -> None:
    network, cases, out = test_frozen.ready(tiny_encoder, tiny.cases(60), CONFIG)
    begun = test_frozen.fit(network, cases, out, CONFIG)
    before = frozen.copy_of(network)
    spoiling = replace(CONFIG, tune_epochs=1, tune_rate=5.0, tune_head_rate=5.0)
    encoder, outcome = tuning.tune(network, tiny_encoder, out, begun, spoiling, ignore)

    assert encoder is tiny_encoder
    assert outcome is begun
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
