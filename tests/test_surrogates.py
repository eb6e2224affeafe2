"""Texts with surrogates in them, and the way back: properties over any text, and the cases that people know."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml import schema as schemas
from ml import surrogates
from ml.surrogates import Cover
from ml.types import HeadPrediction, Span

HELPLINE = schemas.load("helpline")
NOUNS = surrogates.nouns(HELPLINE, surrogates.NOUNS)
LABELS = [*NOUNS, "AGE"]
# Words that are those of surrogates, fold in odd ways, or are phone numbers, and all that may stand between words
WORDS = ["Amina", "AMINA", "amina", "Otieno", "child", "A", "b", "Person", "Town", "someone", "Word", "X0", "Phone"]
WORDS += ["1", "Straße", "STRASSE", "\u0130", "\u017f", "s", "0712345678", "+254", "712", "345678", "Ämi", "😀", "_x_"]
WORDS += ["of", "Kisumu"]
BETWEEN = [" ", ", ", "\n", "-", "'", "_", ". ", "", "\u0301"]


@st.composite
def marked(draw: Any) -> tuple[str, list[Span]]:
    parts = draw(st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(BETWEEN)), max_size=14))
    text = "".join(word + gap for word, gap in parts)
    places = st.tuples(st.integers(0, len(text)), st.integers(0, len(text)), st.sampled_from(LABELS))
    spans = [
        Span(start=min(a, b), end=max(a, b), label=label)
        for a, b, label in draw(st.lists(places, max_size=6))
        if a != b
    ]
    return text, spans


def covered(text: str, spans: list[Span], **more: Any) -> Cover:
    return surrogates.cover(text, spans, NOUNS, region="KE", **more)


def span(text: str, words: str, label: str) -> Span:
    start = text.index(words)
    return Span(start=start, end=start + len(words), label=label)


def key(text: str) -> tuple[str, ...]:
    return tuple(word.casefold() for word in surrogates.WORD.findall(text))


def stands_in(words: tuple[str, ...], text: tuple[str, ...]) -> bool:
    return any(text[place : place + len(words)] == words for place in range(len(text)))


# --- Properties


@given(marked())
def test_no_covered_string_is_left_in_what_is_sent(case) -> None:
    text, spans = case
    found = covered(text, spans)
    sent = key(found.applied(text))
    wanted = [text[one["start"] : one["end"]] for one in spans if one["label"] in NOUNS]
    for piece in found.pieces:
        assert not stands_in(key(text[piece.start : piece.end]), sent)
    for one in spans:
        inside = [word for word in surrogates.WORD.finditer(text) if word.start() < one["end"] > 0]
        inside = [word for word in inside if one["start"] < word.end()]
        if one["label"] in NOUNS and inside:
            assert found.is_whole(inside[0].start(), inside[-1].end()), wanted
            assert not stands_in(tuple(word.group().casefold() for word in inside), sent)
    assert surrogates.left(text, found) == 0


@given(marked())
def test_a_surrogate_never_stands_in_the_text_and_belongs_to_one_string(case) -> None:
    text, spans = case
    found = covered(text, spans)
    by_string = {(key(text[piece.start : piece.end]), piece.surrogate) for piece in found.pieces}
    assert len({string for string, _ in by_string}) == len(by_string) == len({name for _, name in by_string})
    for piece in found.pieces:
        assert not stands_in(key(piece.surrogate), key(text))


@given(marked(), st.data())
def test_a_range_goes_out_and_comes_back_the_same_or_wider_by_whole_pieces(case, data) -> None:
    text, spans = case
    found = covered(text, spans)
    sent = found.applied(text)
    a, b = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, len(text)))
    if a == b:
        return
    start, end = min(a, b), max(a, b)
    there = found.out(start, end)
    assert 0 <= there[0] < there[1] <= len(sent)
    back = found.back(*there)
    widened = [piece for piece in found.pieces if piece.start < end and start < piece.end]
    assert back == (min([start, *(p.start for p in widened)]), max([end, *(p.end for p in widened)]))
    assert found.out(*back) == there
    if not widened:
        assert sent[slice(*there)] == text[start:end]


@given(marked(), st.data())
def test_a_range_of_what_was_sent_comes_back_within_the_text(case, data) -> None:
    text, spans = case
    found = covered(text, spans)
    sent = found.applied(text)
    a, b = data.draw(st.integers(0, len(sent))), data.draw(st.integers(0, len(sent)))
    if a == b:
        return
    start, end = found.back(min(a, b), max(a, b))
    assert 0 <= start < end <= len(text)
    first, last = found.out(start, end)
    assert first <= min(a, b)
    assert max(a, b) <= last


@given(marked())
def test_spans_that_nobody_touched_come_back_exactly_as_they_were(case) -> None:
    text, spans = case
    found = covered(text, spans)
    assert found.spans_back(found.spans_out(spans), known=spans) == sorted(
        ({**one} for one in {(s["start"], s["end"], s["label"]): s for s in spans}.values()),
        key=lambda one: (one["start"], one["end"], one["label"]),
    )


@given(marked())
def test_what_tables_hold_is_read_back(case) -> None:
    text, spans = case
    found = covered(text, spans)
    assert Cover.from_json(found.as_json()) == found
    assert all(isinstance(part, int | str) for piece in found.as_json() for part in piece)


@given(marked(), marked())
def test_a_string_that_is_known_from_elsewhere_is_covered_here_too(first, second) -> None:
    known = covered(*first).given(first[0])
    text, spans = second
    found = covered(text, spans, known=known)
    assert surrogates.left(text, found) == 0
    assert not any(stands_in(string, key(found.applied(text))) for string in known)
    again = covered(text, spans, known=known | found.given(text))
    assert again == found


# --- What people know


def test_a_call_is_read_with_surrogates() -> None:
    text = "Amina from Kisumu says AMINA's teacher, Mr Otieno, has 0712 345 678; +254712345678 in kisumu. Aminata?"
    spans = [span(text, "Amina", "VICTIM"), span(text, "Kisumu", "LOCATION"), span(text, "Otieno", "NAME")]
    assert covered(text, spans).applied(text) == (
        "Child A from Town B says Child A's teacher, Mr Person C, has Phone 1; +Phone 2 in Town B. Aminata?"
    )


def test_many_digits_are_a_number_in_whatever_country_and_a_date_is_not() -> None:
    text = "+999 9999 999999, or 07700 900 1234, since 12-05-2026, aged 12."
    assert covered(text, []).applied(text) == "+Phone 1, or Phone 2, since 12-05-2026, aged 12."


def test_a_noun_that_is_covered_itself_gives_way() -> None:
    text = "The child is called Child, she says."
    assert covered(text, [span(text, "Child,", "VICTIM")]).applied(text) == (
        "The Someone A is called Someone A, she says."
    )


def test_labels_that_nobody_hides_stay() -> None:
    text = "Amina is five."
    assert surrogates.cover(text, [span(text, "Amina", "NAME")], {}, region="KE") == Cover()


def test_the_same_string_has_one_surrogate_in_a_conversation() -> None:
    first, second = "Otieno and Amina.", "Amina, then otieno."
    known = covered(first, [span(first, "Otieno", "NAME"), span(first, "Amina", "VICTIM")]).given(first)
    assert covered(second, [], known=known).applied(second) == "Child B, then Person A."


def test_a_note_is_covered_by_the_same_surrogates() -> None:
    text = "Amina is here."
    given_ = covered(text, [span(text, "Amina", "VICTIM")]).given(text)
    note = "Ask amina again, on 0712 345 678; Child A is her."
    assert surrogates.hide(note, given_, region="KE") == "Ask Child A again, on (hidden); Child A is her."


def test_a_prediction_is_moved_with_the_text() -> None:
    text = "Wanjiru is twelve."
    found = covered(text, [span(text, "Wanjiru", "NAME")])
    said = {"entities": HeadPrediction([span(text, "twelve", "AGE")], None), "priority": HeadPrediction("2", 0.9)}
    moved = surrogates.as_shown(said, HELPLINE, found)
    assert moved["entities"].answer == [{"start": 12, "end": 18, "label": "AGE"}]
    assert moved["priority"] == said["priority"]


@pytest.mark.parametrize(("region", "is_one"), [("KE", True), ("", True), ("XX", False), ("ke", False)])
def test_a_region_is_known_or_not(region, is_one) -> None:
    assert surrogates.is_region(region) is is_one
