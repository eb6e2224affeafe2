"""What the measures of surrogates count."""

from __future__ import annotations

import json

import pytest

from ml import leaks, surrogates
from ml import schema as schemas
from ml.__main__ import main
from ml.types import Example, HeadPrediction, Span

HELPLINE = schemas.load("helpline")
TEXT = "Amina Otieno from Kisumu: 0712 345 678. Amina again."


def span(words: str, label: str) -> Span:
    start = TEXT.index(words)
    return Span(start=start, end=start + len(words), label=label)


MARKED = [span("Amina Otieno", "NAME"), span("Kisumu", "LOCATION"), span("0712 345 678", "PHONE_NUMBER")]
MARKED.append(Span(start=40, end=45, label="NAME"))


def measured(*said: Span, **more):
    rows = [Example("1", TEXT, {"entities": MARKED}), Example("2", TEXT, {"priority": "2"})]
    return leaks.measure(HELPLINE, rows, [{"entities": HeadPrediction([*said], None)}] * 2, **more)


def missed(*said: Span, **more) -> dict[str, tuple[int, int]]:
    found = measured(*said, **more)["missed"]
    return {label: (one["missed"], one["n"]) for label, one in found.items() if one["n"]}


def test_what_the_model_missed_is_counted_and_a_phone_number_that_it_missed_is_found() -> None:
    assert missed() == {"NAME": (2, 2), "LOCATION": (1, 1), "PHONE_NUMBER": (0, 1)}


def test_a_name_of_which_a_word_can_be_read_is_missed() -> None:
    assert missed(span("Amina", "NAME"), span("Kisumu", "LOCATION"))["NAME"] == (1, 2)
    assert missed(span("Amina", "NAME"), span("Otieno", "VICTIM"))["NAME"] == (0, 2)


def test_labels_that_are_not_hidden_are_not_measured() -> None:
    assert missed(span("Kisumu", "LOCATION"), labels=["NAME"]) == {"NAME": (2, 2)}


def test_texts_without_labels_of_entities_do_not_count_and_shares_have_an_interval() -> None:
    found = measured(span("Amina Otieno", "NAME"))
    assert (found["texts"], found["left"]) == (1, 0)
    assert found["characters"] == pytest.approx(24 / len(TEXT))
    assert found["missed"]["NAME"] == {
        "n": 2,
        "missed": 1,
        "share": 0.5,
        "interval": pytest.approx((0.095, 0.905), abs=0.001),
        "whole": {"n": 2, "missed": 1, "share": 0.5, "interval": pytest.approx((0.095, 0.905), abs=0.001)},
    }
    nothing = {"n": 0, "missed": 0, "share": None, "interval": None}
    assert found["missed"]["LANDMARK"] == nothing | {"whole": nothing}


def test_a_mark_that_slipped_counts_apart_from_those_that_are_words() -> None:
    slipped = Example("1", TEXT, {"entities": [Span(start=1, end=5, label="NAME"), span("Otieno", "NAME")]})
    nothing = {"entities": HeadPrediction([], None)}
    found = leaks.measure(HELPLINE, [slipped], [nothing])["missed"]["NAME"]
    assert (found["n"], found["missed"], found["whole"]["n"], found["whole"]["missed"]) == (2, 2, 1, 1)


def test_a_covered_string_that_could_be_read_would_be_counted() -> None:
    broken = surrogates.Cover((surrogates.Piece(0, 5, "Amina A"),))
    assert surrogates.left(TEXT, broken) == 2


def test_a_training_says_it_of_rows_that_it_did_not_learn_from(tiny_model, tiny_folder) -> None:
    found = json.loads((tiny_folder / "manifest.json").read_text())["surrogates"]
    # The heads of spans leave out the first fold alone
    assert found["texts"] * tiny_model.config.folds == sum("names" in row.labels for row in tiny_model.held_out)
    assert found["left"] == 0
    assert found == json.loads(json.dumps(tiny_model.surrogates))


def test_the_command_measures_a_model_and_refuses_what_it_does_not_know(tiny_folder, tmp_path, capsys) -> None:
    rows = tmp_path / "rows.jsonl"
    marked = [{"start": 0, "end": 5, "label": "NAME"}]
    rows.write_text(json.dumps({"id": "1", "text": "Amina sings.", "labels": {"names": marked}}) + "\n")
    asked = ["surrogates", "--model", str(tiny_folder), "--data", str(rows)]
    assert main(asked) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (found["texts"], found["left"], found["missed"]["NAME"]["n"]) == (1, 0, 1)
    assert main([*asked, "--labels", "COLOUR"]) == 2
    assert main([*asked, "--region", "Kenya"]) == 2
    assert "'COLOUR' is no label of entities; expected some of NAME" in capsys.readouterr().err


def test_a_text_whose_entities_no_stranger_predicted_does_not_count() -> None:
    rows = [Example(name, TEXT, {"entities": MARKED}) for name in "12"]
    said = [{"entities": HeadPrediction([span("Kisumu", "LOCATION")], None)}, {}]
    found = leaks.measure(HELPLINE, rows, said)
    assert (found["texts"], found["missed"]["LOCATION"]["missed"], found["missed"]["LOCATION"]["n"]) == (1, 0, 1)
