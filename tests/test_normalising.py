from __future__ import annotations

from ml import normalising


def test_a_text_stays_as_it_is_or_loses_all_but_small_latin_letters_and_digits() -> None:
    text = "  Ünder-15, it's\nLOUD! "
    assert normalising.BY_NAME["none"](text) == text
    assert normalising.BY_NAME["plain"](text) == "nder15 its\nloud"
