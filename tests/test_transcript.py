"""Transcripts as turns, with entities and with the words that heads looked at."""

from __future__ import annotations

import pytest

from webapp.queries.transcript import Piece, SpanView, Turn, turns

TEXT = "Agent: Hello?\nCaller (in tears): I am Amina. My baby is hungry.\n\nShe cries"
AMINA = SpanView("38:43:NAME", "Name", "Amina")


def test_a_transcript_is_cut_into_turns_and_entities() -> None:
    assert turns(TEXT, [AMINA]) == (
        Turn("Agent", "", 7, (Piece("Hello?"),)),
        Turn(
            "Caller",
            "in tears",
            33,
            (Piece("I am "), Piece("Amina", "Name", AMINA.value, True), Piece(". My baby is hungry.")),
        ),
        Turn("", "", 65, (Piece("She cries"),)),
    )


def test_words_are_shaded_by_how_much_a_head_looked_at_them_relative_to_its_most() -> None:
    looks = {"main": [(45, 47, 0.3), (48, 52, 0.15), (56, 62, 0.05)], "sub": [(56, 62, 0.02), (48, 52, 0.0)]}
    (_, caller, _) = turns(TEXT, looks=looks)
    assert [(piece.words, piece.looks) for piece in caller.pieces if piece.looks] == [
        ("My", (("main", 3),)),
        ("baby", (("main", 2),)),
        ("hungry", (("main", 1), ("sub", 3))),
    ]


def test_a_word_inside_an_entity_keeps_both() -> None:
    spans = [SpanView("45:52:VICTIM", "Victim", "My baby")]
    (_, caller, _) = turns(TEXT, spans, {"main": [(48, 52, 0.3)]})
    assert [piece for piece in caller.pieces if piece.entity] == [
        Piece("My ", "Victim", "45:52:VICTIM"),
        Piece("baby", "Victim", "45:52:VICTIM", True, (("main", 3),)),
    ]


@pytest.mark.parametrize(
    ("line", "speaker"),
    [
        ("Rose Waboshe (desperate, pleading): Help.", ("Rose Waboshe", "desperate, pleading")),
        ("Agent [calm]: Help.", ("Agent", "calm")),
        ("(crying): Help.", ("(crying)", "")),
        ("It was like this: he came. " * 3, ("It was like this", "")),
        ("He told us, over and over again, for as long as anybody listened: go.", ("", "")),
        (": Help.", ("", "")),
        ("Caller:", ("", "")),
    ],
)
def test_speakers_are_told_from_how_they_speak_and_from_long_sentences(line, speaker) -> None:
    (turn,) = turns(line)
    assert (turn.speaker, turn.manner) == speaker
    assert line[turn.start :] == "".join(piece.words for piece in turn.pieces)


@pytest.mark.parametrize(
    "values", [["0:99:NAME"], ["3:8:NAME", "5:6:AGE"], ["9:4:NAME"]], ids=["long", "both", "turned"]
)
def test_entities_that_cannot_be_drawn_leave_the_words_as_they_are(values) -> None:
    text = "Agent: Hello?\nCaller: Yes."
    spans = [SpanView(value, "Name", "") for value in values]
    assert "".join(piece.words for turn in turns(text, spans) for piece in turn.pieces) == "Hello?Yes."
