"""Few labels: an encoder that learns to tell them apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from ml import contrast, export, training
from ml.encoder import Encoder
from ml.progress import Progress, ignore
from ml.types import Example
from tests import tiny

SCHEMA = tiny.toy_schema()
THING = SCHEMA.head("thing")
CONFIG = replace(tiny.QUICK, profile="full", contrast_steps=40, contrast_rate=5e-3, validation_share=0.3)


def only(rows: Sequence[Example], key: str) -> list[Example]:
    return [replace(row, labels={key: row.labels[key]}) for row in rows]


def spread(encoder: Encoder, rows: Sequence[Example]) -> float:
    """How much liker texts of one thing are than texts of two."""
    vectors = functional.normalize(encoder.means([row.text for row in rows]), dim=1)
    things = [row.labels["thing"] for row in rows]
    likeness, alike = vectors @ vectors.T, torch.tensor([[one == other for one in things] for other in things])
    own = torch.eye(len(rows), dtype=torch.bool)
    return float(likeness[alike & ~own].mean() - likeness[~alike].mean())


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        pytest.param(tiny.cases(40), "thing", id="few"),
        pytest.param(tiny.cases(100), None, id="enough of each label"),
        pytest.param(only(tiny.cases(100), "place")[:30], "place", id="the head that is labelled"),
        pytest.param(only(tiny.cases(40), "mood"), None, id="no head of one label"),
        pytest.param([replace(row, text=row.text * 9) for row in tiny.cases(40)], None, id="long texts"),
        pytest.param([row for row in tiny.cases(40) if row.labels["thing"] == "ship"], None, id="one label"),
    ],
)
def test_labels_are_told_apart_where_they_are_few_and_texts_short(rows: list[Example], found: str | None) -> None:
    head = contrast.head_to_learn(SCHEMA.heads, rows, CONFIG)
    assert (head.key if head else None) == found


def test_the_loss_is_that_of_a_text_choosing_its_like_among_all_others() -> None:
    vectors = functional.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.2], [0.0, 1.0]]), dim=1)
    first, second = (vectors @ vectors.T / 0.5)[:2]
    expected = (first[[1, 2]].logsumexp(0) - first[1] + second[[0, 2]].logsumexp(0) - second[0]) / 3
    torch.testing.assert_close(contrast._loss(vectors, ["a", "a", "b"], 0.5), expected)


def test_an_encoder_learns_what_tells_labels_apart(tiny_encoder: Encoder) -> None:
    told: list[Progress] = []
    unseen = tiny.cases(60, seed=4)
    learnt = contrast.learn(tiny_encoder, THING, tiny.cases(40), CONFIG, told.append)
    assert spread(learnt, unseen) > spread(tiny_encoder, unseen) + 0.2
    told = [one for one in told if one.phase == "contrast"]
    assert [(one.done, one.total) for one in told] == [(step, 40) for step in range(1, 41)]
    assert told[-1].loss < told[0].loss


def test_rows_without_a_known_label_of_the_head_teach_nothing(tiny_encoder: Encoder) -> None:
    rows, others = tiny.cases(40), only(tiny.cases(20, seed=2), "mood")
    others += [replace(row, labels={"thing": "gone"}) for row in tiny.cases(5, seed=2)]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        expected = contrast.learn(tiny_encoder, THING, rows, CONFIG, ignore)
        torch.manual_seed(0)
        assert contrast.learn(tiny_encoder, THING, [*rows, *others], CONFIG, ignore).digest == expected.digest


def test_the_full_profile_tells_few_labels_apart_and_learns_from_all_rows_in_the_end(
    tiny_encoder: Encoder, tiny_exports: Path, tmp_path: Path
) -> None:
    rows, seen = tiny.cases(40), []
    trained = training.train(
        rows,
        SCHEMA,
        CONFIG,
        encoder=tiny_encoder,
        exports=tiny_exports,
        progress=lambda found: seen.append(found.phase),
    )
    assert (trained.told_apart, trained.is_of_all_rows) == ("thing", True)
    assert trained.counts["train"]["thing"] == 40
    assert 0 < trained.counts["held_out"]["thing"] == len(trained.held_out) < 40
    assert "tune" not in seen
    phases = [phase for at, phase in enumerate(seen) if phase != seen[at - 1]]
    assert phases.count("contrast") == 2
    manifest = export.save(trained, tmp_path / "model")
    assert (manifest["told_apart"], manifest["is_of_all_rows"]) == ("thing", True)
    again = export.restore(tmp_path / "model")
    assert again.digest == tiny_encoder.digest, "what was learnt would be measured on what it has seen"


def test_rows_for_validation_are_never_learnt_from(tiny_encoder: Encoder, tiny_exports: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {"encoder": tiny_encoder, "exports": tiny_exports, "validation": tiny.cases(20, seed=8)}
    trained = training.train(tiny.cases(40), SCHEMA, CONFIG, **given)
    assert (trained.told_apart, trained.is_of_all_rows, trained.counts["train"]["thing"]) == ("thing", False, 40)
    export.save(trained, tmp_path / "model")
    assert export.restore(tmp_path / "model").digest == trained.encoder.digest


def test_an_encoder_that_was_tuned_goes_on_as_it_was(tiny_encoder: Encoder, tiny_exports: Path) -> None:
    tuned = contrast.learn(tiny_encoder, THING, tiny.cases(40), CONFIG, ignore)
    trained = training.train(tiny.cases(40), SCHEMA, CONFIG, encoder=tuned, exports=tiny_exports)
    assert (trained.told_apart, trained.is_of_all_rows) == (None, False)
