from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ml import export, metrics, model, serving
from ml.progress import Progress
from ml.registry import ModelFolderError
from ml.serving import Predictor
from ml.training import TrainedModel
from tests import tiny

SCHEMA = tiny.toy_schema()
POOLED = {"place", "thing", "mood", "manner"}
WORDS = [*tiny.PLACES, *tiny.MOODS, *tiny.MANNERS, *tiny.FILLERS]


@pytest.fixture(scope="module")
def predictor(tiny_folder: Path) -> Predictor:
    return Predictor(tiny_folder)


@pytest.fixture(scope="module")
def arbitrary(tiny_model: TrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """A model whose heads score at random, so that a child often scores highest under another parent."""
    network = export.CaseModel(tiny_model.network.heads, tiny_model.encoder.width).eval()
    network.load_state_dict(tiny_model.network.state_dict())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key in network.pooled_keys:
            for name in ("weight", "evidence"):
                if (weights := getattr(network.head(key), name, None)) is not None:
                    weights.copy_(torch.randn(weights.shape, generator=generator))
    folder = tmp_path_factory.mktemp("arbitrary") / "model"
    export.save(replace(tiny_model, network=network, held_out=[]), folder)
    return Predictor(folder)


def test_serving_needs_neither_torch_nor_transformers(tiny_folder: Path) -> None:
    program = """
        import json, sys
        from ml import serving
        found = serving.Predictor(sys.argv[1]).read(["hello ship ship", "Road road calm calm"])
        print(json.dumps([{key: answer.answer for key, answer in one.prediction.items()} for one in found]))
        print([name for name in sys.modules if name.split(".")[0] in ("torch", "transformers", "safetensors")])
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(tiny_folder)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    answers, loaded = found.stdout.splitlines()
    assert loaded == "[]"
    assert [answer["thing"] for answer in json.loads(answers)] == ["ship", "road"]
    assert found.stderr == ""


def test_a_served_model_knows_the_rule(predictor: Predictor) -> None:
    unseen = tiny.cases(100, seed=1)
    found = metrics.evaluate(SCHEMA, unseen, predictor.predict([case.text for case in unseen]))
    assert found["thing"]["accuracy"] >= 0.95
    assert found["names"]["micro_f1"] >= 0.9


def test_predictions_come_in_the_order_of_the_texts(predictor: Predictor) -> None:
    texts = [case.text for case in tiny.cases(40, seed=7)]
    forward, backward = predictor.predict(texts), predictor.predict(texts[::-1])
    assert forward == backward[::-1]
    assert len({row["thing"].answer for row in forward}) == 4
    assert list(forward[0]) == list(SCHEMA.by_key)


def test_what_stands_beside_a_text_makes_no_difference(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:

    texts = [*(case.text for case in tiny.cases(20, seed=8)), "the Ship", "a Wave " + "the " * 100]
    together = predictor.predict(texts)
    monkeypatch.setattr(serving, "TEXTS_AT_ONCE", 3)
    for one, other in zip(together, predictor.predict(texts), strict=True):
        for key in POOLED:
            assert one[key].probabilities == pytest.approx(other[key].probabilities, abs=1e-5)
        for first, second in zip(one["names"].answer, other["names"].answer, strict=True):
            assert first == pytest.approx(second, abs=1e-5)


@pytest.mark.parametrize("thing", list(tiny.PLACES))
def test_nothing_of_a_text_is_lost_that_is_read_in_several_windows(predictor: Predictor, thing: str) -> None:
    start = "the one was there and then we saw a " * 14
    text = f"{start}{thing} {thing.title()}"
    assert len(predictor._splitter.windows(predictor._splitter.split([text])).ids) == 3
    [found] = predictor.predict([text])
    [without] = predictor.predict([start])
    ends = [(span["start"], span["end"]) for span in found["names"].answer]
    assert ends == [(len(text) - len(thing), len(text))]
    assert without["names"].answer == []
    assert found["thing"].probabilities[thing] > without["thing"].probabilities[thing]


def test_spans_at_the_seams_of_windows_are_found(predictor: Predictor) -> None:
    words = ["the"] * 150
    for at in range(5, 150, 7):
        words[at] = "Ship"
    text = " ".join(words)
    [found] = predictor.predict([text])
    bare = [{**span} for span in found["names"].answer]
    assert [span | {"confidence": 0} for span in bare] == [span | {"confidence": 0} for span in tiny.names(text)]


@pytest.mark.parametrize("text", ["", " ", "\x00", "💥", "\u0301", "?!", "xyz", "Ship"], ids=range(8))
def test_texts_with_few_words_or_none_are_answered(predictor: Predictor, text: str) -> None:
    [found] = predictor.predict([text])
    assert list(found) == list(SCHEMA.by_key)
    assert sum(found["thing"].probabilities.values()) == pytest.approx(1.0)
    assert found["names"].answer == [] or text == "Ship"
    [again] = predictor.read([text])
    assert again.prediction == found
    assert all(0 <= look.start < look.end <= len(text) for one in again.looks.values() for look in one)


def test_no_texts_give_no_predictions(predictor: Predictor) -> None:
    assert predictor.predict([]) == []
    assert predictor.read([]) == []


@settings(deadline=None, max_examples=40)
@given(chosen=st.lists(st.sampled_from(WORDS), max_size=12))
def test_a_child_never_stands_under_another_parent(arbitrary: Predictor, chosen: list[str]) -> None:
    [found] = arbitrary.predict([" ".join(chosen)])
    assert tiny.PLACES[str(found["thing"].answer)] == found["place"].answer
    for place, things in [("sea", ("ship", "wave")), ("land", ("hill", "road"))]:
        under = sum(found["thing"].probabilities[thing] for thing in things)
        assert under == pytest.approx(found["place"].probabilities[place], abs=1e-6)


def test_what_a_head_looked_at_is_a_share_of_the_words_of_the_text(predictor: Predictor) -> None:
    texts = [*(case.text for case in tiny.cases(30, seed=9)), "the " * 120 + "Ship", "hello, ship!"]
    read = predictor.read(texts)
    for text, one in zip(texts, read, strict=True):
        assert set(one.looks) == POOLED <= set(one.prediction)
        words = [word for part in text.split() for word in ([part] if part.isalpha() else [part[:-1], part[-1]])]
        for found in one.looks.values():
            assert [text[look.start : look.end] for look in found] == words
            assert all(look.weight >= 0 for look in found)
            assert 0.5 < sum(look.weight for look in found) <= 1 + 1e-6
    assert [one.prediction for one in read] == predictor.predict(texts)


def test_only_the_words_that_were_looked_at_most_are_told_when_asked(predictor: Predictor) -> None:
    text = "the " * 20 + "ship calm"
    [whole], [part], [none] = (predictor.read([text], most=most) for most in (None, 3, 0))
    assert none.looks == {}
    for head, found in part.looks.items():
        assert found == sorted(
            sorted(whole.looks[head], key=lambda look: -look.weight)[:3], key=lambda look: look.start
        )


@pytest.mark.parametrize(
    ("phrase", "words"),
    [(0, range(7)), (5, range(19, 27)), (12, range(47, 54))],
    ids=["first", "in the middle", "last"],
)
def test_what_a_head_looked_at_are_the_words_of_the_phrase_that_its_query_asks_for(
    tiny_model: TrainedModel, tmp_path: Path, phrase: int, words: range
) -> None:
    text = " ".join(["the one was there and then we saw a"] * 6)
    [batch] = tiny_model.served.batches([text])
    phrases = model.phrases_of(batch.tokens, batch.mask)[0][0, :13]  # Of 54 words and the special piece at each end
    network = export.CaseModel(tiny_model.network.heads, tiny_model.encoder.width).eval()
    with torch.no_grad():
        network.head("thing").query.copy_(50 * (phrases[phrase] - phrases.mean(dim=0))[None])
    export.save(replace(tiny_model, network=network, held_out=[]), tmp_path / "model")
    [found] = Predictor(tmp_path / "model").read([text])
    weights = [look.weight for look in found.looks["thing"]]
    assert [at for at, weight in enumerate(weights) if weight > 0.06] == list(words)
    everywhere = max(look.weight for look in found.looks["place"])
    assert everywhere < 0.03, "a head that asks for nothing looks everywhere alike"


def test_several_threads_may_ask_at_once(predictor: Predictor) -> None:
    texts = [[case.text for case in tiny.cases(12, seed=seed)] for seed in range(16)]
    expected = [predictor.predict(part) for part in texts]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(predictor.predict, texts)) == expected


def test_a_predictor_may_be_told_how_many_threads_to_use(tiny_folder: Path, predictor: Predictor) -> None:
    texts = [case.text for case in tiny.cases(10)]
    for one, other in zip(Predictor(tiny_folder, threads=1).predict(texts), predictor.predict(texts), strict=True):
        assert one["thing"].probabilities == pytest.approx(other["thing"].probabilities, abs=1e-4)


def test_progress_counts_texts(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Progress] = []
    monkeypatch.setattr(serving, "TEXTS_AT_ONCE", 2)
    predictor.predict(["ship", "wave", "the hill"], progress=told.append)
    assert [(one.phase, one.done, one.total) for one in told] == [("predict", 2, 3), ("predict", 3, 3)]


def test_an_exception_in_progress_ends_the_prediction(predictor: Predictor) -> None:
    def cancel(progress: Progress) -> None:
        raise KeyError(progress.done)

    with pytest.raises(KeyError, match="1"):
        predictor.predict(["ship"], progress=cancel)


def test_a_folder_that_is_no_model_or_was_changed_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match="expected a model folder"):
        Predictor(tmp_path)
    place = shutil.copytree(tiny_folder, tmp_path / "model")
    (place / "heads.onnx").write_bytes(b"x")
    with pytest.raises(ModelFolderError, match="its SHA-256 differs"):
        Predictor(place)
