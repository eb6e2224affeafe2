from __future__ import annotations

from pathlib import Path

import pytest

from ml import examples
from ml.examples import ExamplesError
from ml.types import Example
from tests import tiny

SCHEMA = tiny.toy_schema()


def test_a_line_is_read_through_the_aliases_of_the_schema() -> None:
    line = '{"id": 7, "text": "ship", "labels": {"place": "OCEAN", "mood": "loud, calm"}, "sent_at": "2026-01-01"}'
    expected = Example(id="7", text="ship", labels={"place": "sea", "mood": ["calm", "loud"]}, sent_at="2026-01-01")
    assert examples.parse(line, SCHEMA) == expected


def test_what_is_written_is_read_back() -> None:
    example = Example("1", "Über", {"place": "sea"}, source="x", conversation="c", metadata={"county": "Meru"})
    assert examples.parse(examples.write(example), SCHEMA) == example
    assert examples.write(Example("1", "a")) == '{"id": "1", "text": "a"}'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param("{", "not JSON: ", id="not json"),
        pytest.param("[1]", "is a JSON list; expected an object with id and text", id="not an object"),
        pytest.param('{"id": "1"}', "text is missing or empty", id="no text"),
        pytest.param('{"id": "1", "text": " "}', "text is missing or empty", id="empty text"),
        pytest.param('{"text": "a"}', "id is missing; expected a text", id="no id"),
        pytest.param('{"id": " ", "text": "a"}', "id is empty; expected a text", id="empty id"),
        pytest.param('{"id": true, "text": "a"}', "id is a JSON bool; expected a text", id="id of another type"),
        pytest.param(
            '{"id": "1", "text": "a", "labels": []}', "labels is a JSON list; expected an object", id="labels"
        ),
        pytest.param(
            '{"id": "1", "text": "a", "labels": {"thing": "shipp"}}',
            "thing has the unknown label 'shipp'; the nearest known label is 'ship'",
            id="unknown label",
        ),
    ],
)
def test_a_bad_line_is_refused_with_what_was_expected(line: str, message: str) -> None:
    with pytest.raises(ExamplesError) as caught:
        examples.parse(line, SCHEMA)
    assert str(caught.value).startswith(message)


def test_a_file_names_every_bad_line_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"id": "1", "text": "a"}\n\n{"id": "2"}\n{"id": "3", "text": "a", "labels": {"place": "see"}}\n')
    with pytest.raises(ExamplesError) as caught:
        examples.read(path, SCHEMA)
    assert str(caught.value).splitlines() == [
        f"{path} has faults:",
        "line 3: text is missing or empty; expected the words of the case",
        "line 4: place has the unknown label 'see'; the nearest known label is 'sea'",
    ]


def test_only_the_first_faults_of_many_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text("{}\n" * 25)
    with pytest.raises(ExamplesError, match=r"line 20: .*\nand 5 more$"):
        examples.read(path, SCHEMA)


def test_a_missing_an_empty_and_an_undecodable_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ExamplesError, match="cannot be read: No such file"):
        examples.read(tmp_path / "none", SCHEMA)
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(ExamplesError, match="is empty; expected one JSON object a line"):
        examples.read(tmp_path / "empty", SCHEMA)
    (tmp_path / "latin").write_bytes(b'{"id": "1", "text": "\xe9"}\n')
    with pytest.raises(ExamplesError, match="is not UTF-8 text"):
        examples.read(tmp_path / "latin", SCHEMA)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param(b'{"id": %s, "text": "a"}' % (b"1" * 5000), "not JSON: ", id="digits"),
        pytest.param(b'{"id": "1", "text": "\\ud800"}', "text has half a character", id="surrogate"),
        pytest.param(b'{"id": "1", "text": "a", "metadata": {"x": ["\\udc00"]}}', "metadata has half", id="deep"),
        pytest.param(b'{"id": "1", "text": "a", "\\ud800": 1}', "? has half a character", id="key"),
        pytest.param(b'{"id": "1", "text": "\xff"}', "not UTF-8 text, at byte 22", id="byte"),
    ],
)
def test_a_line_that_python_or_utf8_cannot_hold_spoils_no_other(line: bytes, message: str) -> None:
    good = '\ufeff{"id": "2", "text": "é 😀"}'.encode()
    found = list(examples.scan([good, line, good], SCHEMA))
    assert [found[0], found[2]] == [Example("2", "é 😀")] * 2
    assert str(found[1]).startswith(f"line 2: {message}")


def test_a_conversation_may_be_asked_for() -> None:
    bare, good = '{"id": "1", "text": "a"}', '{"id": "1", "text": "a", "conversation": 7}'
    assert list(examples.scan([bare, good], SCHEMA, needs_conversation=True)) == [
        "line 1: conversation is missing; expected a text",
        Example("1", "a", conversation="7"),
    ]


def test_scanning_gives_good_lines_as_examples_and_bad_ones_as_messages() -> None:
    found = list(examples.scan(['{"id": "1", "text": "a"}', "?", '{"id": "2", "text": "b"}'], SCHEMA))
    assert found[0] == Example("1", "a")
    assert str(found[1]).startswith("line 2: not JSON")
    assert found[2] == Example("2", "b")
