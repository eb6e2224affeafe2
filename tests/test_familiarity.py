from __future__ import annotations

import json
import shutil
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from ml import encoder, familiarity
from ml.familiarity import Familiarity
from ml.serving import Predictor
from ml.training import TrainedModel
from ml.types import Example
from webapp.demo import generate

WIDTH = 32


def drawn(count: int, *, around: int, seed: int) -> familiarity.Floats:
    """Draw vectors around one axis."""
    noise = np.random.default_rng(seed).normal(size=(count, WIDTH)) * 0.2
    noise[:, around] += 3
    return noise.astype(np.float32)


def test_what_lies_where_nothing_was_learnt_is_not_familiar() -> None:
    known = familiarity.fit(drawn(100, around=0, seed=0), drawn(40, around=0, seed=1), seed=0)
    assert known is not None
    assert 1 <= len(known.centres) <= familiarity.CENTRES
    assert np.linalg.norm(known.centres, axis=1) == pytest.approx(np.ones(len(known.centres)), abs=1e-5)
    assert not any(known.knows(one) for one in drawn(20, around=1, seed=2))
    assert all(known.knows(one * 50) for one in drawn(40, around=0, seed=1)), "the length of a vector says nothing"


def test_of_cases_that_are_like_what_was_learnt_one_in_as_many_as_were_held_out_is_taken_for_unlike() -> None:
    shares = []
    for seed in range(60):
        rows = drawn(60 + 24 + 100, around=0, seed=100 + seed)
        known = familiarity.fit(rows[:60], rows[60:84], seed=seed)
        assert known is not None
        shares.append(1 - np.mean([known.knows(one) for one in rows[84:]]))
    assert np.mean(shares) == pytest.approx(1 / 25, abs=0.02)


@pytest.mark.parametrize(("learnt", "held_out"), [(100, 19), (7, 40)])
def test_too_few_texts_say_nothing(learnt: int, held_out: int) -> None:
    assert familiarity.fit(drawn(learnt, around=0, seed=0), drawn(held_out, around=0, seed=1), seed=0) is None


def test_no_row_says_both_where_the_centres_are_and_how_far_is_too_far() -> None:
    rows = [Example(str(at), "") for at in range(300)]
    inside, outside = familiarity.chosen(rows, rows[200:], seed=0)
    assert (len(inside), len(outside)) == (128, 100)
    assert not {row.id for row in inside} & {row.id for row in outside}
    assert {row.id for row in outside} <= {row.id for row in rows[200:]}


def test_a_folder_tells_what_is_familiar_as_the_training_did(
    tiny_model: TrainedModel, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor, text = Predictor(tiny_folder), "hello ship calm"
    [reading] = predictor.read([text])
    assert tiny_model.familiarity is not None
    found = tiny_model.familiarity.of(tiny_model.served.means([text]).numpy())
    assert found == pytest.approx(tiny_model.familiarity.of(reading.vector[None]), abs=1e-5)
    for least in (found[0] + 1e-3, found[0] - 1e-3):
        monkeypatch.setattr(predictor, "_familiarity", Familiarity(tiny_model.familiarity.centres, float(least)))
        assert predictor.read([text])[0].is_familiar is bool(least < found[0])


def test_with_the_packaged_encoder_other_languages_code_and_signs_are_unlike_calls() -> None:
    texts = [case.text for case in islice(generate.helpline(), 100)]
    packaged = encoder.load()
    vectors = packaged.means(texts).numpy()
    known = familiarity.fit(vectors[:70], vectors[70:], seed=0)
    others = [
        "😀",
        "??? ... !!!",
        "1234 5678",
        "SELECT * FROM users;",
        "Bonjour, deux billets pour Paris, merci.",
        "asdf qwer",
    ]
    assert known is not None
    assert [known.knows(one) for one in packaged.means(others).numpy()] == [False] * len(others)


def test_no_centre_is_the_vector_of_a_few_texts() -> None:
    rare = np.concatenate([drawn(2, around=axis, seed=axis) for axis in range(5, 12)])
    learnt = np.concatenate([drawn(100, around=0, seed=0), rare])
    known = familiarity.fit(learnt, drawn(40, around=0, seed=1), seed=0)
    assert known is not None
    assert not any(known.knows(one) for one in rare)
    assert (known.of(rare) < 0.9).all()


def test_a_folder_from_before_there_were_centres_finds_all_familiar(tiny_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["least_familiar"], manifest["files"]["centres.npy"]
    (folder / "centres.npy").unlink()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert [one.is_familiar for one in Predictor(folder).read(["", "ship", "😀"])] == [True] * 3
