from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from ml import pieces, spans
from ml.pieces import Pieces, Splitter, Windows

BEFORE, AFTER, PAD = 0, 1, 99
ODD = [
    "",
    " ",
    "a ",
    " a",
    "a   b",
    "\n\n",
    "\x00\x07",
    "a\x07b",
    "e\u0301a",
    "\u0301",
    "👨\u200d👩\u200d👧 ok",
    "💥💥",
]
ODD += ["ab\u00a0cd", "\ud7ff\ue000", "[CLS] a [SEP]", "<s>a</s>", "字漢", "\u200b", "مرحبا", "a" * 300]


def bert_like() -> Tokenizer:
    """Cuts into lower case letters, as BERT's tokenizer cuts into word pieces."""
    letters = [letter for at in range(97, 123) for letter in (chr(at), f"##{chr(at)}")]
    vocab = {word: at for at, word in enumerate(["[CLS]", "[SEP]", "[UNK]", *letters])}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", AFTER), ("[CLS]", BEFORE))
    return tokenizer


def roberta_like() -> Tokenizer:
    """Cuts into bytes, where a space belongs to the word after it."""
    vocab = {word: at for at, word in enumerate(["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", AFTER), ("<s>", BEFORE), add_prefix_space=False)
    return tokenizer


def numbered(lengths: list[int]) -> list[Pieces]:
    """Texts of some lengths, special pieces included, whose every own piece has another id."""
    none = np.zeros(0, dtype=np.int64)
    return [
        Pieces(np.array([BEFORE, *range(100, 98 + length), AFTER]), none.reshape(0, 2), none, none)
        for length in lengths
    ]


def stitched(windows: Windows) -> list[list[int]]:
    """Put each text together again from what its windows read."""
    read = windows.ids.reshape(-1)[windows.places]
    return [row[is_real].tolist() for row, is_real in zip(read, windows.is_real, strict=True)]


LENGTHS = st.lists(st.integers(2, 400), min_size=1, max_size=4)


@settings(deadline=None)
@given(lengths=LENGTHS, max_tokens=st.integers(3, 140))
@example(lengths=[2, 512, 513], max_tokens=512)
def test_windows_give_back_each_piece_of_each_text_exactly_once(lengths: list[int], max_tokens: int) -> None:
    batch = numbered(lengths)
    windows = Splitter(bert_like(), max_tokens).windows(batch, pad=PAD)
    assert stitched(windows) == [one.ids.tolist() for one in batch]
    assert windows.mask.sum(axis=1).max() <= max_tokens
    assert windows.places.shape[1] % pieces.ROUND == 0
    assert (windows.ids[windows.mask == 0] == PAD).all()


@settings(deadline=None)
@given(lengths=LENGTHS, max_tokens=st.integers(3, 140))
def test_every_piece_is_read_with_context_on_both_sides(lengths: list[int], max_tokens: int) -> None:
    splitter = Splitter(bert_like(), max_tokens)
    batch = numbered(lengths)
    windows = splitter.windows(batch, pad=PAD)
    assert splitter.overlap == min(pieces.OVERLAP, max_tokens // 4)
    for one, places in zip(batch, windows.places, strict=True):
        for at, place in enumerate(places[1 : len(one.ids) - 1], start=1):
            window, column = divmod(int(place), windows.ids.shape[1])
            own = int(windows.mask[window].sum()) - 2
            before, after = column - 1, own - column
            assert before >= min(splitter.overlap // 2, at - 1)
            assert after >= min(splitter.overlap // 2, len(one.ids) - 2 - at)


@settings(deadline=None)
@given(lengths=LENGTHS, max_tokens=st.integers(3, 140))
def test_each_window_is_a_stretch_of_the_text_between_special_pieces(lengths: list[int], max_tokens: int) -> None:
    windows = Splitter(bert_like(), max_tokens).windows(numbered(lengths), pad=PAD)
    for ids, mask in zip(windows.ids, windows.mask, strict=True):
        first, *own, last = ids[mask == 1].tolist()
        assert (first, last) == (BEFORE, AFTER)
        assert (np.diff(own) == 1).all()


@settings(deadline=None)
@given(lengths=LENGTHS, max_tokens=st.integers(3, 140))
def test_pooling_first_gives_the_first_piece_of_every_window(lengths: list[int], max_tokens: int) -> None:
    splitter = Splitter(bert_like(), max_tokens)
    windows = splitter.windows(numbered(lengths), pad=PAD, pooling="first")
    places = windows.places[windows.is_real]
    assert (windows.ids.reshape(-1)[places] == BEFORE).all()
    assert sorted(places.tolist()) == [row * windows.ids.shape[1] for row in range(len(windows.ids))]
    alone = [len(splitter.windows([one]).ids) for one in numbered(lengths)]
    assert windows.is_real.sum(axis=1).tolist() == alone


def test_a_text_that_fits_is_one_window_and_one_piece_more_makes_two() -> None:
    splitter = Splitter(bert_like(), 20)
    assert [len(splitter.windows(numbered([length])).ids) for length in (19, 20, 21)] == [1, 1, 2]


def test_a_tokenizer_that_cuts_and_fills_up_is_made_to_do_neither() -> None:
    tokenizer = bert_like()
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=8)
    [one] = Splitter(tokenizer, 16).split(["abcdefghij"])
    assert len(one.ids) == 12
    assert tokenizer.truncation is not None, "the caller's own is left as it was"


@pytest.mark.parametrize("tokenizer", [bert_like(), roberta_like()], ids=["like BERT", "like RoBERTa"])
@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
def test_words_of_odd_texts_are_in_order_and_apart(tokenizer: Tokenizer, text: str) -> None:

    _check_words(text, Splitter(tokenizer, 16).split([text])[0])


@pytest.mark.parametrize("tokenizer", [bert_like(), roberta_like()], ids=["like BERT", "like RoBERTa"])
@given(text=st.text(max_size=30))
@settings(deadline=None)
def test_words_of_any_text_are_in_order_and_apart(tokenizer: Tokenizer, text: str) -> None:
    _check_words(text, Splitter(tokenizer, 16).split([text])[0])


def _check_words(text: str, found: Pieces) -> None:
    ranges = found.words.tolist()
    assert all(0 <= start < end <= len(text) and text[start:end].strip() for start, end in ranges)
    assert all(one[1] <= following[0] for one, following in itertools.pairwise(ranges))
    assert found.spoken[found.firsts].tolist() == list(range(len(ranges)))
    assert (np.diff(found.spoken[found.spoken >= 0]) >= 0).all()
    assert len(found.firsts) == len(set(found.firsts.tolist())) == len(ranges)
    assert spans.shapes(text, found.words).shape == (len(ranges), spans.N_SHAPES)


def test_words_are_ranges_of_the_text_as_it_was_given() -> None:
    text = "Ünë, 💥 go\x07ne!"
    for tokenizer, expected in [(bert_like(), ["Ünë", ",", "💥", "go\x07ne", "!"]), (roberta_like(), ["Ünë", ","])]:
        [one] = Splitter(tokenizer, 16).split([text])
        assert [text[start:end] for start, end in one.words][: len(expected)] == expected


def test_an_empty_text_has_its_special_pieces_and_no_words() -> None:
    [one] = Splitter(bert_like(), 16).split([""])
    assert (one.ids.tolist(), one.words.shape, one.firsts.shape) == ([BEFORE, AFTER], (0, 2), (0,))


def test_batches_hold_each_text_once_longest_first_and_few_pieces() -> None:
    texts = numbered([5, 40, 7, 40, 2, 300])
    found = list(pieces.batches(texts, 80))
    assert found[0] == [5], "a text longer than a batch has one to itself"
    assert sorted(row for rows in found for row in rows) == list(range(6))
    assert all(len(rows) * len(texts[rows[0]].ids) <= 80 for rows in found[1:])
    assert list(pieces.batches([], 80)) == []


@given(length=st.integers(2, 100), seed=st.integers(0, 5))
def test_spreading_the_weights_of_phrases_keeps_their_sum(length: int, seed: int) -> None:
    n_phrases = max(1, -(-length // pieces.STEP) - 1)
    weights = np.random.default_rng(seed).dirichlet(np.ones(n_phrases)).astype(np.float32)
    found = pieces.spread(weights, length)
    assert found.shape == (length,)
    assert (found >= 0).all()
    assert found.sum() == pytest.approx(1.0, abs=1e-5)


def test_the_weight_of_a_phrase_goes_to_its_own_pieces_alike() -> None:
    found = pieces.spread(np.array([0.0, 1.0, 0.0], dtype=np.float32), 16)
    assert found.tolist() == [0.0] * 4 + [0.125] * 8 + [0.0] * 4
