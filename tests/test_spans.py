from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml import spans
from ml.scales import HeadCalibration
from ml.schema import Head, Kind, Label
from ml.spans import SpanFaults

HEAD = Head("entities", "Entities", Kind.SPANS, "", tuple(Label(key, key, "") for key in ("NAME", "PLACE")))
PLAIN = HeadCalibration()
TEXT = "Anna Maria went from Addis Ababa to Gondar"
WORDS = np.array([match.span() for match in re.finditer(r"\w+", TEXT)])


def span(start: int, end: int, label: str = "NAME") -> dict:
    return {"start": start, "end": end, "label": label}


def bare(found: list) -> list[dict]:
    return [span(one["start"], one["end"], one["label"]) for one in found]


def certain(tags: np.ndarray, n_tags: int = 5) -> np.ndarray:
    return 20.0 * np.eye(n_tags)[tags]


def test_a_span_begins_and_continues_over_its_words() -> None:
    tags, faults = spans.encode([span(0, 10), span(21, 32, "PLACE"), span(36, 42, "PLACE")], WORDS, HEAD)
    assert tags.tolist() == [1, 2, 0, 0, 3, 4, 0, 3]
    assert faults == SpanFaults()


def test_spans_side_by_side_stay_apart() -> None:
    tags, _ = spans.encode([span(0, 4), span(5, 10)], WORDS, HEAD)
    assert tags.tolist()[:3] == [1, 1, 0]
    assert bare(spans.decode(certain(tags), WORDS, HEAD, PLAIN)) == [span(0, 4), span(5, 10)]


def test_white_space_at_the_ends_of_a_span_is_no_fault() -> None:
    tags, faults = spans.encode([span(4, 11)], WORDS, HEAD)
    assert (tags.tolist()[:3], faults.total) == ([0, 1, 0], 0)


@pytest.mark.parametrize(
    ("answer", "faults", "kept"),
    [
        pytest.param([span(3, 3)], SpanFaults(empty=1), 0, id="nothing inside"),
        pytest.param([span(4, 5)], SpanFaults(empty=1), 0, id="only white space"),
        pytest.param([span(0, 4), span(0, 4)], SpanFaults(duplicate=1), 1, id="twice"),
        pytest.param([span(0, 4), span(0, 5)], SpanFaults(duplicate=1), 1, id="twice but for white space"),
        pytest.param([span(0, 3)], SpanFaults(misaligned=1), 0, id="ends inside a word"),
        pytest.param([span(1, 10)], SpanFaults(misaligned=1), 0, id="begins inside a word"),
        pytest.param([span(0, 4, "AGE")], SpanFaults(unknown=1), 0, id="a label that went away"),
        pytest.param([span(0, 4), span(0, 4, "PLACE")], SpanFaults(overlapping=1), 1, id="the same words, two labels"),
    ],
)
def test_what_cannot_become_tags_is_counted_and_left_out(answer, faults, kept) -> None:
    tags, found = spans.encode(answer, WORDS, HEAD)
    assert found == faults
    assert (tags % 2 == 1).sum() == kept


def test_of_spans_that_overlap_the_longest_stays_and_then_the_earliest() -> None:
    longest, _ = spans.encode([span(0, 4), span(0, 10)], WORDS, HEAD)
    assert longest.tolist()[:3] == [1, 2, 0]
    text = "aa bb cc"
    words = np.array([match.span() for match in re.finditer(r"\w+", text)])
    tags, faults = spans.encode([span(3, 8), span(0, 5)], words, HEAD)
    assert (tags.tolist(), faults) == ([1, 2, 0], SpanFaults(overlapping=1))


def test_faults_add_up_over_a_data_set() -> None:
    answers = [[span(0, 3), span(0, 4), span(0, 4)], [span(2, 2)], [span(0, 7)]]
    total = sum((spans.encode(answer, WORDS, HEAD)[1] for answer in answers), SpanFaults())
    assert total == SpanFaults(empty=1, duplicate=1, misaligned=2)
    assert total.total == 4


def test_a_text_without_words_has_no_spans() -> None:
    nothing = np.zeros((0, 2), dtype=int)
    assert spans.encode([span(0, 1)], nothing, HEAD)[1] == SpanFaults(empty=1)
    assert spans.decode(np.zeros((0, 5)), nothing, HEAD, PLAIN) == []
    assert spans.shapes("", nothing).shape == (0, spans.N_SHAPES)


@st.composite
def texts_and_spans(draw):
    words = draw(st.lists(st.text("aZ9é", min_size=1, max_size=5), min_size=1, max_size=12))
    gaps = draw(st.lists(st.sampled_from([" ", "  ", "\n"]), min_size=len(words), max_size=len(words)))
    text = "".join(word + gap for word, gap in zip(words, gaps, strict=True))
    places = np.array([match.span() for match in re.finditer(r"\S+", text)])
    cuts = sorted(draw(st.sets(st.integers(0, len(places)))))
    answer = [
        span(int(places[first, 0]), int(places[after - 1, 1]), draw(st.sampled_from(["NAME", "PLACE"])))
        for first, after in itertools.pairwise(cuts)
        if draw(st.booleans())
    ]
    return places, answer


@settings(deadline=None)
@given(texts_and_spans())
def test_whole_words_come_back_as_they_went_in(found) -> None:
    words, answer = found
    tags, faults = spans.encode(answer, words, HEAD)
    assert faults == SpanFaults()
    assert bare(spans.decode(certain(tags), words, HEAD, PLAIN)) == answer


@settings(deadline=None)
@given(
    texts_and_spans(),
    st.lists(
        st.tuples(st.integers(-2, 70), st.integers(-2, 70), st.sampled_from(["NAME", "PLACE", "AGE"])), max_size=9
    ),
)
def test_every_span_becomes_tags_or_is_counted_and_tags_are_valid(found, more) -> None:
    words, _ = found
    answer = [span(*one) for one in more]
    tags, faults = spans.encode(answer, words, HEAD)
    assert (tags % 2 == 1).sum() + faults.total == len(answer)
    assert is_valid(tags.tolist())


def is_valid(tags) -> bool:
    return all(tag == 0 or tag % 2 or before in (tag - 1, tag) for before, tag in itertools.pairwise([0, *tags]))


def held(tags) -> list[tuple[int, int, int]]:
    found: list[list[int]] = []
    for word, tag in enumerate(tags):
        if tag % 2:
            found.append([word, word, tag // 2])
        elif tag:
            found[-1][1] = word
    return [(first, last, label) for first, last, label in found]


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 5), st.integers(1, 2), st.sampled_from([0.3, 2.0, 25.0]), st.integers(0, 10_000))
def test_answers_and_confidences_are_those_of_trying_every_sequence(n_words, n_labels, scale, seed) -> None:
    scores = np.random.default_rng(seed).normal(0, scale, (n_words, 1 + 2 * n_labels))
    head = Head("e", "E", Kind.SPANS, "", tuple(Label(str(label), "", "") for label in range(n_labels)))
    words = np.stack([np.arange(n_words) * 3, np.arange(n_words) * 3 + 2], axis=1)
    every = [tags for tags in itertools.product(range(1 + 2 * n_labels), repeat=n_words) if is_valid(tags)]
    weights = np.array([scores[np.arange(n_words), list(tags)].sum() for tags in every])
    probs = np.exp(weights - weights.max())
    probs /= probs.sum()
    found = spans.decode(scores, words, head, PLAIN)
    places = [(one["start"] // 3, one["end"] // 3, int(one["label"])) for one in found]
    assert places == held(every[int(weights.argmax())])
    for one, place in zip(found, places, strict=True):
        exact = sum(prob for tags, prob in zip(every, probs, strict=True) if place in held(tags))
        assert one["confidence"] == pytest.approx(exact, abs=5 * spans.UNLIKELY)


def test_texts_decoded_together_are_decoded_as_alone() -> None:
    rng = np.random.default_rng(0)
    scores = [rng.normal(0, 2, (n_words, 5)) for n_words in [0, *rng.integers(1, 40, 150)]]
    words = [np.stack([np.arange(len(one)) * 3, np.arange(len(one)) * 3 + 2], axis=1) for one in scores]
    together = spans.decode_all(scores, words, HEAD, PLAIN)
    for answer, one, ranges in zip(together, scores, words, strict=True):
        alone = spans.decode(one, ranges, HEAD, PLAIN)
        assert bare(answer) == bare(alone)
        np.testing.assert_allclose([x["confidence"] for x in answer], [x["confidence"] for x in alone], atol=1e-9)


def test_a_long_and_certain_text_has_finite_confidences() -> None:
    tags = np.array([1, *[2] * 999, 0] * 2)
    words = np.stack([np.arange(len(tags)) * 2, np.arange(len(tags)) * 2 + 1], axis=1)
    found = spans.decode(50.0 * certain(tags), words, HEAD, PLAIN)
    assert [(one["start"] // 2, one["confidence"]) for one in found] == [
        (0, pytest.approx(1.0, abs=2e-6)),
        (1001, pytest.approx(1.0, abs=2e-6)),
    ]


def test_confidence_is_corrected_on_the_log_odds_scale() -> None:
    scores = np.array([[0.0, 1.0, -9.0, -9.0, -9.0]])
    (raw,) = spans.decode(scores, WORDS[:1], HEAD, PLAIN)
    (corrected,) = spans.decode(scores, WORDS[:1], HEAD, HeadCalibration(slope=0.5, intercept=-1.0))
    odds = np.log(raw["confidence"] / (1 - raw["confidence"]))
    assert corrected["confidence"] == pytest.approx(1 / (1 + np.exp(1.0 - 0.5 * odds)))


def shape_of(text: str, word: str) -> set[str]:
    words = np.array([match.span() for match in re.finditer(r"\w+|[^\w\s]", text)])
    row = [text[start:end] for start, end in words].index(word)
    return {name for name, is_so in zip(spans.SHAPES, spans.shapes(text, words)[row], strict=True) if is_so}


BEGINS = "begins a sentence, a line or a speaker's turn"


@pytest.mark.parametrize(
    ("text", "word", "shape"),
    [
        ("we saw Anna", "Anna", {"begins with a capital", "up to 6 characters"}),
        ("we saw Anna", "saw", {"all letters are small", "up to 3 characters"}),
        ("the UN", "UN", {"begins with a capital", "all letters are capitals", "up to 3 characters"}),
        ("was 12", "12", {"digits only", "has a digit", "up to 3 characters"}),
        ("form B12x", "B12x", {"begins with a capital", "has a digit", "up to 6 characters"}),
        ("so ,", ",", {"no letter and no digit", "up to 1 characters"}),
        ("a neighbourhood", "neighbourhood", {"all letters are small", "longer"}),
        ("go there", "go", {"all letters are small", BEGINS, "up to 3 characters"}),
        ('no. "yes', "yes", {"all letters are small", BEGINS, "up to 3 characters"}),
        ("no\nyes", "yes", {"all letters are small", BEGINS, "up to 3 characters"}),
        ("no\nAgent 2: yes", "yes", {"all letters are small", BEGINS, "up to 3 characters"}),
        ("at 3.5 now", "5", {"digits only", "has a digit", "up to 1 characters"}),
        ("እሱ ንጉሥ", "ንጉሥ", {"up to 3 characters"}),
    ],
)
def test_the_writing_of_a_word_is_told_by(text, word, shape) -> None:
    assert shape_of(text, word) == shape
