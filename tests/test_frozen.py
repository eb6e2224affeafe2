from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from ml import frozen, held_out, model, targets
from ml.encoder import Encoder, fastest_dtype
from ml.frozen import Cases
from ml.held_out import HeldOut
from ml.model import CaseModel
from ml.progress import ignore
from ml.targets import SpanTarget
from ml.types import Example
from tests import tiny

SCHEMA = tiny.toy_schema()
LEVEL = replace(tiny.QUICK, balance=0.0)
EVERY = list(SCHEMA.by_key)


def ready(
    encoder: Encoder, rows: Sequence[Example], config: frozen.TrainConfig = LEVEL, keys: Sequence[str] = EVERY
) -> tuple[CaseModel, Cases, HeldOut]:
    """What `fit` needs to train heads on some rows."""
    texts = [row.text for row in rows]
    is_out = held_out.draw(texts, 0, config)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = model.build(SCHEMA, keys, encoder, copies=len(is_out))
    cases = frozen.encode(network, encoder, texts, encoder.splitter.split(texts), set(range(len(rows))), ignore)
    tagged = [SpanTarget.read(SCHEMA.head(key), rows, cases.pieces) for key in network.tagged_keys]
    return network, cases, HeldOut(is_out, rows, targets.read(SCHEMA, keys, rows), tagged, cases.pieces)


def fit(network: CaseModel, cases: Cases, out: HeldOut, config: frozen.TrainConfig = LEVEL) -> held_out.Outcome:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return frozen.fit(network, cases, out.pooled, out.tagged, out, config, ignore)


def test_what_is_kept_of_a_text_is_what_the_model_makes_of_it(tiny_encoder: Encoder) -> None:
    rows = tiny.cases(12)
    network, cases, _ = ready(tiny_encoder, rows)
    for batch in tiny_encoder.batches([row.text for row in rows]):
        firsts, shapes = model.word_inputs([rows[row].text for row in batch.rows], batch.pieces)
        expected = network(batch.tokens, batch.mask, firsts, shapes)
        chosen = torch.tensor(batch.rows)
        scores, _ = network.answer(*cases.batch(chosen))
        for key, values in scores.items():
            torch.testing.assert_close(values, expected.pooled[key], atol=0.05, rtol=0.05)
        for at, row in enumerate(batch.rows):
            words = model.words_of(batch.tokens, firsts)[at, : len(cases.words[row])]
            assert torch.equal(cases.words[row], words.to(fastest_dtype()))
            assert torch.equal(cases.shapes[row], shapes[at, : len(words)])


def test_what_is_usual_is_learnt_from_the_texts(tiny_encoder: Encoder) -> None:
    rows = tiny.cases(40)
    network, cases, _ = ready(tiny_encoder, rows)
    means = tiny_encoder.means([row.text for row in rows])
    torch.testing.assert_close(network.centre, means.mean(dim=0), atol=1e-3, rtol=0)
    torch.testing.assert_close(network.head("place").centre, cases.likeness["place"].mean(dim=0))
    before = network.centre.clone()
    frozen.encode(network, tiny_encoder, ["ship"], tiny_encoder.splitter.split(["ship"]), set(), ignore, is_new=False)
    assert torch.equal(network.centre, before)


def test_the_weights_that_are_left_are_those_of_the_best_epoch(tiny_encoder: Encoder) -> None:
    config = replace(LEVEL, epochs=15, patience=4, learning_rate=2.0, span_learning_rate=0.5, penalty=0.0)
    network, cases, out = ready(tiny_encoder, tiny.cases(64), config)
    told = []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = frozen.fit(network, cases, out.pooled, out.tagged, out, config, told.append)
    assert len(told) <= 15
    best = max(told, key=lambda one: (round(sum(one.metrics.values()) / len(one.metrics), 3), -one.loss))
    assert (best.done, best.loss, best.metrics) == (found.epoch, found.loss, found.figures)
    network.eval()
    scores, _ = network.answer(*cases.batch(torch.arange(64)))
    for key, values in scores.items():
        torch.testing.assert_close(values, found.logits[key])
    tags = cases.tags(network, [*found.tags["names"]])["names"]
    for values, kept in zip(tags, found.tags["names"].values(), strict=True):  # Learnt in bfloat16 where that is fast
        torch.testing.assert_close(values, torch.from_numpy(kept), rtol=0.05, atol=0.05 * kept.std())


def test_the_words_of_a_text_do_not_look_at_those_of_the_text_beside_it(tiny_encoder: Encoder) -> None:
    network, cases, _ = ready(tiny_encoder, tiny.cases(6), keys=["names"])
    network.eval()
    with torch.no_grad():
        together = cases.tags(network, [4, 0, 2])["names"]
        alone = [cases.tags(network, [row])["names"][0] for row in (4, 0, 2)]
        as_served = [network.tag(cases.words[row][None].float(), cases.shapes[row][None].float()) for row in (4, 0, 2)]
    for one, other, served in zip(together, alone, as_served, strict=True):
        torch.testing.assert_close(one, other)
        torch.testing.assert_close(one, served["names"][0], rtol=0.05, atol=0.05)


def test_a_copy_learns_nothing_from_the_rows_that_it_leaves_out(tiny_encoder: Encoder) -> None:
    """Other labels for the rows of a fold change every copy but the one that leaves the fold out."""
    rows, swapped = tiny.cases(48), {"sea": "land", "land": "sea"}
    config = replace(LEVEL, epochs=2, patience=99)
    _, _, out = ready(tiny_encoder, rows, config, ["place"])
    changed = [
        replace(row, labels={"place": swapped[str(row.labels["place"])]}) if is_out else row
        for row, is_out in zip(rows, out.is_out[1], strict=True)
    ]
    both = []
    for examples in (rows, changed):
        network, cases, held = ready(tiny_encoder, examples, config, ["place"])
        with pytest.MonkeyPatch.context() as patch:  # Else the fold itself would choose the epoch
            patch.setattr(held_out.Outcome, "is_better_than", lambda one, other: one.epoch > other.epoch)
            fit(network, cases, held, config)
        both.append(network.head("place").weight.detach().clone())
    same = [torch.allclose(one, other, atol=1e-6) for one, other in zip(*both, strict=True)]
    assert same == [False, True, False, False, False]


def test_words_of_the_rows_that_are_left_out_teach_nothing(tiny_encoder: Encoder) -> None:
    rows = tiny.cases(48)
    _, _, out = ready(tiny_encoder, rows, keys=["names"])
    learns = ~out.is_out[0]
    drawn = [part for _, part in frozen._batches(len(rows), [], out.tagged, ~out.is_out, LEVEL)]
    often = Counter(torch.cat(drawn).tolist())  # So few rows that they are passed over as often as whole cases
    assert often == dict.fromkeys(learns.nonzero().flatten().tolist(), LEVEL.passes)


def test_the_rate_rises_and_then_falls_to_nothing() -> None:
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    rates, found = frozen.schedule(optimiser, 20, 0.1), []
    for _ in range(20):
        found.append(rates.get_last_lr()[0])
        optimiser.step()
        rates.step()
    assert found[:3] == [0.5, 1.0, 1.0]
    assert found[2:] == pytest.approx([1 - step / 18 for step in range(18)])


def test_what_weighting_put_in_is_taken_out_of_choices_of_one_label_alone(tiny_encoder: Encoder) -> None:
    config = replace(tiny.QUICK, balance=1.0)
    labels = ["sea"] * 8 + ["land"] * 24
    rows = [replace(case, labels={"place": key, "mood": []}) for case, key in zip(tiny.cases(32), labels, strict=True)]
    network, _, out = ready(tiny_encoder, rows, config, ["place", "mood"])
    begun = {key: torch.zeros(5, 32, 2) for key in ("place", "mood")}
    frozen.take_out_weights(network, out, out.measure(0, begun, {}), config)
    given = begun["place"][-1, 0]
    assert given.softmax(dim=0).tolist() == pytest.approx([8 / 32, 24 / 32])
    torch.testing.assert_close(network.head("place").bias[-1].detach(), given)
    assert begun["mood"].abs().sum() == 0


@pytest.mark.parametrize("where", ["learnt", "left out", "nowhere"])
def test_spans_that_are_labelled_on_one_side_only_are_learnt_or_left(tiny_encoder: Encoder, where: str) -> None:

    rows = tiny.cases(32)
    is_out = held_out.draw([row.text for row in rows], 0, LEVEL)[0].tolist()
    wanted = {"learnt": False, "left out": True}.get(where)
    rows = [
        row if out is wanted else replace(row, labels={key: row.labels[key] for key in row.labels if key != "names"})
        for row, out in zip(rows, is_out, strict=True)
    ]
    network, cases, out = ready(tiny_encoder, rows)
    found = fit(network, cases, out)
    assert ("names" in found.figures) == (where == "left out")
    assert found.figures["place"] > 0.6
