from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ml import model, spans
from ml.encoder import Encoder, mean_of
from ml.model import CaseModel
from ml.pieces import ROUND, STEP, WINDOW, rounded
from tests import tiny

SCHEMA = tiny.toy_schema()
WIDTH = 8


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def random_model(copies: int = 1, seed: int = 0) -> CaseModel:
    """A model of all heads whose weights are anything but what training starts with."""
    found = CaseModel(SCHEMA.heads, WIDTH, copies=copies).eval()
    with torch.no_grad():
        for at, value in enumerate(found.parameters()):
            value.copy_(drawn(*value.shape, seed=seed + at))
    for key in found.pooled_keys:
        texts = drawn(*found.head(key).label_texts.shape, seed=seed)
        found.head(key).label_texts.copy_(torch.nn.functional.normalize(texts, dim=2))
    return found


def padded(tokens: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Fill a text, (T, W), up with vectors that mean nothing, and say which are real: (1, length, W), (1, length)."""
    rest = drawn(length - len(tokens), tokens.shape[1], seed=99)
    return torch.cat([tokens, rest])[None], torch.arange(length)[None] < len(tokens)


def plain_phrases(tokens: Tensor) -> list[Tensor]:
    """What phrases are, in a plain loop: windows that overlap by half, but none that has nothing new."""
    starts = [start for start in range(0, len(tokens), STEP) if start == 0 or start + STEP < len(tokens)]
    return [tokens[start : start + WINDOW].mean(dim=0) for start in starts]


@settings(deadline=None)
@given(length=st.integers(2, 70), more=st.integers(0, 4))
def test_phrases_are_what_a_plain_loop_finds_however_far_a_text_is_padded(length: int, more: int) -> None:
    tokens = drawn(length, WIDTH, seed=length)
    found, is_real = model.phrases_of(*padded(tokens, rounded(length) + more * ROUND))
    torch.testing.assert_close(found[is_real], torch.stack(plain_phrases(tokens)))


def test_phrases_are_means_of_eight_word_pieces_that_overlap_by_half() -> None:
    tokens = torch.arange(16.0)[None, :, None]
    phrases, is_real = model.phrases_of(tokens, torch.arange(16)[None] < 12)
    assert phrases[is_real].flatten().tolist() == [3.5, 7.5]


@settings(deadline=None, max_examples=30)
@given(length=st.integers(2, 40), n_words=st.integers(1, 12), more=st.integers(1, 3))
def test_padding_of_pieces_and_words_changes_no_score(length: int, n_words: int, more: int) -> None:

    network = random_model()
    tokens = drawn(length, WIDTH, seed=length)
    firsts = torch.arange(n_words)[None] % length
    shapes = drawn(1, n_words, spans.N_SHAPES, seed=n_words)
    alone = network(*padded(tokens, rounded(length)), firsts, shapes)
    wider = torch.nn.functional.pad(firsts, (0, more)), torch.nn.functional.pad(shapes, (0, 0, 0, more))
    beside = network(*padded(tokens, rounded(length) + more * ROUND), *wider)
    for key, scores in alone.pooled.items():
        torch.testing.assert_close(beside.pooled[key], scores, atol=1e-4, rtol=1e-4)
    for key, scores in alone.tags.items():
        torch.testing.assert_close(beside.tags[key][:, :n_words], scores, atol=1e-4, rtol=1e-4)


def test_attention_of_each_head_and_copy_is_a_share_of_the_real_phrases() -> None:
    network = random_model(copies=3)
    tokens, mask = drawn(4, 32, WIDTH), torch.arange(32)[None] < torch.tensor([[2], [9], [20], [32]])
    phrases, is_real = model.phrases_of(tokens, mask)
    _, attention = network.answer(phrases, is_real, network.likeness(mean_of(tokens, mask), phrases, is_real))
    assert list(attention) == ["place", "thing", "mood", "manner"]
    for weights in attention.values():
        assert weights.shape == (3, *is_real.shape)
        torch.testing.assert_close(weights.sum(dim=2), torch.ones(3, 4))
        assert (weights[:, ~is_real] == 0).all()
        assert (weights >= 0).all()
    assert not torch.allclose(attention["place"][0], attention["thing"][0]), "each head looks with a query of its own"
    assert not torch.allclose(attention["place"][0], attention["place"][1])


def test_a_head_looks_where_the_phrase_is_like_its_query() -> None:
    network = CaseModel([SCHEMA.head("place")], 4)
    phrases = torch.eye(4)[None]
    with torch.no_grad():
        network.head("place").query.copy_(20 * torch.eye(4)[2:3])
        network.head("place").weight.copy_(torch.arange(8.0).view(1, 4, 2))
    likeness = {"place": torch.zeros(1, model.LIKENESSES, 2)}
    scores, attention = network.answer(phrases, torch.ones(1, 4, dtype=torch.bool), likeness)
    torch.testing.assert_close(attention["place"][0, 0], torch.eye(4)[2], atol=1e-6, rtol=0)
    torch.testing.assert_close(scores["place"][0, 0], torch.tensor([4.0, 5.0]), atol=1e-5, rtol=0)


def test_a_criterion_is_judged_by_the_phrases_that_say_most_for_it_and_against_it() -> None:
    network = CaseModel([SCHEMA.head("manner")], 4)
    with torch.no_grad():
        evidence = network.head("manner").evidence  # (1, for and against, W, C)
        evidence[0, 0, 0, 0], evidence[0, 1, 1, 0] = 9.0, 9.0
    likeness = {"manner": torch.zeros(1, model.LIKENESSES, 4)}

    def judged(*phrases: list[float]) -> tuple[list[float], Tensor]:
        rows = torch.tensor([[*phrases, [50.0, 0, 0, 0]]])
        is_real = torch.arange(len(phrases) + 1)[None] < len(phrases)
        scores, attention = network.answer(rows, is_real, likeness)
        return [round(score, 2) for score in scores["manner"][0, 0].tolist()], attention["manner"][0, 0].detach()

    thanks, scolds, talk = [1.0, 0, 0, 0], [0.0, 1, 0, 0], [0.0, 0, 1, 0]
    assert judged(talk, talk)[0] == [0.0] * 4
    assert judged(*[talk] * 20, thanks)[0] == judged(thanks, talk)[0] == [9.0, 0, 0, 0], "however much else is said"
    assert judged(talk, scolds)[0] == [-9.0, 0, 0, 0]
    assert judged(scolds, thanks)[0] == [0.0] * 4
    _, attention = judged(talk, thanks, talk)
    assert attention[:3].sum() == pytest.approx(1.0)
    assert attention[1] == attention.max()


def test_attention_begins_as_the_mean_of_the_phrases() -> None:
    network = CaseModel([SCHEMA.head("place")], 4)
    torch.nn.init.ones_(network.head("place").weight)
    phrases = torch.tensor([[[1.0, 0, 0, 0], [3.0, 0, 0, 0], [99.0, 9, 9, 9]]])
    is_real = torch.tensor([[True, True, False]])
    scores, _ = network.answer(phrases, is_real, {"place": torch.zeros(1, model.LIKENESSES, 2)})
    assert scores["place"].tolist() == [[[2.0, 2.0]]]


def test_likeness_is_the_cosine_to_names_and_definitions_of_the_text_and_of_its_nearest_phrase() -> None:
    network = random_model()
    phrases, is_real = drawn(1, 3, WIDTH), torch.tensor([[True, True, False]])
    whole = drawn(1, WIDTH, seed=5)
    texts = network.head("place").label_texts
    found = network.likeness(whole, phrases, is_real)["place"][0]
    cosines = torch.nn.functional.cosine_similarity(phrases[0, :2, None, None], texts[None], dim=3)
    expected = [*torch.nn.functional.cosine_similarity(whole[0], texts, dim=2), *cosines.amax(dim=0)]
    torch.testing.assert_close(found, torch.stack(expected))


def test_scores_begin_as_the_mean_of_the_likeness_in_standard_deviations() -> None:
    network = CaseModel([SCHEMA.head("place")], WIDTH)
    head = network.head("place")
    likeness = drawn(50, model.LIKENESSES, 2)
    head.standardise(likeness)
    scores = head(torch.zeros(1, 50, WIDTH), likeness)[0]
    expected = ((likeness - likeness.mean(dim=0)) / likeness.std(dim=0, correction=0)).mean(dim=1)
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=0)


def test_copies_say_what_each_says_alone() -> None:
    network = random_model(copies=2)
    phrases, is_real = drawn(2, 3, WIDTH), torch.ones(2, 3, dtype=torch.bool)
    likeness = {key: drawn(2, *network.head(key).centre.shape) for key in network.pooled_keys}
    together, _ = network.answer(phrases, is_real, likeness)
    for copy in range(2):
        single = random_model()
        for key in single.pooled_keys:
            for name, value in single.head(key).named_parameters():
                value.data.copy_(getattr(network.head(key), name)[copy : copy + 1])
        for key, scores in single.answer(phrases, is_real, likeness)[0].items():
            torch.testing.assert_close(together[key][copy : copy + 1], scores)


def test_a_tag_is_read_from_a_word_and_its_two_neighbours() -> None:
    network = random_model()
    words, shapes = drawn(1, 6, WIDTH).requires_grad_(), drawn(1, 6, spans.N_SHAPES).requires_grad_()
    network.tag(words, shapes)["names"][0, 2].sum().backward()
    for given_to_it in (words, shapes):
        assert (given_to_it.grad[0].abs().sum(dim=1) > 0).tolist() == [False, True, True, True, False, False]


def test_words_are_read_at_their_first_piece() -> None:
    tokens = torch.arange(12.0).view(1, 6, 2)
    assert model.words_of(tokens, torch.tensor([[1, 4, 0]])).tolist() == [[[2.0, 3.0], [8.0, 9.0], [0.0, 1.0]]]


def test_a_rubric_has_two_outputs_for_each_criterion_and_other_heads_one_for_each_label() -> None:
    assert model.outputs_of(SCHEMA.head("manner")) == [("Greets", "hello"), ("Thanks", "thanks")] * 2
    assert model.outputs_of(SCHEMA.head("place")) == [("Sea", "ship wave"), ("Land", "hill road")]


def test_label_texts_are_read_by_the_encoder_when_a_model_is_built(tiny_encoder: Encoder) -> None:
    network = model.build(SCHEMA, ["place", "names", "manner"], tiny_encoder, copies=2)
    assert (network.keys, network.pooled_keys, network.tagged_keys) == (
        ["place", "names", "manner"], ["place", "manner"], ["names"],
    )  # fmt: skip
    texts = network.head("place").label_texts
    expected = torch.nn.functional.normalize(tiny_encoder.means(["Sea", "Land"]), dim=1)
    torch.testing.assert_close(texts[0], expected, atol=0.02, rtol=0)
    torch.testing.assert_close(texts.norm(dim=2), torch.ones(2, 2))


def test_only_heads_that_answer_a_case_as_a_whole_can_be_asked_for(tiny_encoder: Encoder) -> None:
    network = model.build(SCHEMA, ["names"], tiny_encoder)
    assert network.answer(drawn(1, 2, 32), torch.ones(1, 2, dtype=torch.bool), {}) == ({}, {})
    with pytest.raises(ValueError, match="names"):
        network.head("names")
