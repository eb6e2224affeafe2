from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ml.__main__ import main
from ml.commands.conversations import Conversations
from ml.serving import Predictor
from ml.types import Example

LOUD, CALM = "loud loud loud ship", "calm calm calm ship"


def predict(model: Path, *options: str, lines: list[dict[str, str]]) -> subprocess.CompletedProcess[str]:
    """Predict in a process that stops if it has loaded torch."""
    program = "import sys; from ml.__main__ import main; code = main(sys.argv[1:]); assert 'torch' not in sys.modules"
    command = [sys.executable, "-c", f"{program}; sys.exit(code)", "predict", "--model", str(model), *options]
    given = "\n".join(map(json.dumps, lines))
    return subprocess.run(command, input=given, capture_output=True, text=True, check=False)


def message(name: str, key: str, text: str) -> dict[str, str]:
    return {"id": key, "text": text, "conversation": name}


def test_predicting_explains_by_words_of_the_text(tiny_folder: Path) -> None:
    text = "Ship ship, über the hill"
    found = predict(tiny_folder, "--explain", lines=[{"id": "a", "text": text}])
    assert (found.returncode, found.stderr) == (0, "")
    heads = json.loads(found.stdout)["heads"]
    assert [key for key, head in heads.items() if "looks" in head] == ["place", "thing", "mood", "manner"]
    looks = heads["thing"].pop("looks")
    assert [text[look["start"] : look["end"]] for look in looks] == ["Ship", "ship", ",", "über", "the", "hill"]
    [one] = Predictor(tiny_folder).read([text])
    expected, attention = one.prediction, one.looks
    assert [look["weight"] for look in looks] == [look.weight for look in attention["thing"]]
    assert heads["thing"] == expected["thing"].as_json()


def test_conversations_are_tagged_by_their_last_messages(tiny_folder: Path) -> None:
    later = [message("x", str(at), CALM) for at in range(4, 8)]
    lines = [message("x", "1", LOUD), message("y", "2", CALM), message("x", "3", LOUD), *later]
    found = predict(tiny_folder, "--conversations", lines=lines)
    assert (found.returncode, found.stderr) == (0, "")
    first, second = (json.loads(line) for line in found.stdout.splitlines())
    assert [(one["conversation"], one["messages"]) for one in (first, second)] == [("x", 6), ("y", 1)]
    assert list(first["heads"]) == ["mood"], "the others are no tags"
    mood = first["heads"]["mood"]
    assert (mood["tag"], mood["switched"], [one["tag"] for one in mood["tags"]]) == ("calm", True, ["loud", "calm"])
    assert mood["tags"][0]["since"] == "1"
    assert [one["id"] for one in mood["evidence"]] == ["7", "6", "5"]
    [alone] = Predictor(tiny_folder).predict([CALM])
    assert mood["probabilities"] == pytest.approx(alone["mood"].probabilities)
    mood = second["heads"]["mood"]
    assert (mood["tag"], mood["switched"], mood["tags"]) == ("calm", False, [{"tag": "calm", "since": "2"}])


@pytest.mark.parametrize(
    ("times", "tags"),
    [
        pytest.param(["2026-03-02 10:00", "2026-03-02T12:30:00+03:00"], ["calm"], id="all have one"),
        pytest.param(["2026-03-02 10:00", ""], ["loud", "calm"], id="one has none"),
        pytest.param(["2026-03-02 10:00", "on Monday"], ["loud", "calm"], id="one is no time"),
    ],
)
def test_messages_are_in_the_order_of_their_times_where_all_have_one(
    tiny_folder: Path, times: list[str], tags: list[str]
) -> None:
    found = Conversations(Predictor(tiny_folder))
    moods = zip("1234", [LOUD, CALM, CALM, CALM], [times[0], *times[1:] * 3], strict=True)
    rows = [Example(id=key, text=text, conversation="x", sent_at=time) for key, text, time in moods]
    found.add(rows[:1])
    found.add(rows[1:])
    [one] = found.tagged()
    assert [tag["tag"] for tag in one["heads"]["mood"]["tags"]] == tags


def test_a_label_counts_from_the_threshold_of_the_model(tiny_folder: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny_folder, tmp_path / "model")
    manifest = json.loads((model / "manifest.json").read_text())
    manifest["calibration"]["mood"]["thresholds"] = {"calm": 1.1, "loud": 0.0}
    (model / "manifest.json").write_text(json.dumps(manifest))
    found = Conversations(Predictor(model))
    found.add([Example(id="1", text=CALM, conversation="x")])
    [one] = found.tagged()
    assert one["heads"]["mood"]["tag"] == "loud"


def test_a_message_without_a_conversation_is_named_and_spoils_no_other(tiny_folder: Path) -> None:
    lines = [message("x", "1", CALM), message("", "2", CALM), {"id": "3", "text": CALM}]
    found = predict(tiny_folder, "--conversations", lines=lines)
    assert found.returncode == 1
    assert [json.loads(line)["messages"] for line in found.stdout.splitlines()] == [1]
    assert found.stderr.splitlines() == [
        "error: line 2: conversation is empty; expected a text",
        "error: line 3: conversation is missing; expected a text",
    ]


def test_conversations_need_a_head_that_tags(
    tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = shutil.copytree(tiny_folder, tmp_path / "model")
    manifest = json.loads((model / "manifest.json").read_text()) | {"heads": ["place", "names"]}
    (model / "manifest.json").write_text(json.dumps(manifest))
    assert main(["predict", "--model", str(model), "--conversations"]) == 2
    known = "the model has the heads place (choice), names (spans)"
    expected = f"error: {known}; conversations are tagged by a head of kind choices\n"
    assert capsys.readouterr().err == expected


def test_help_comes_without_torch() -> None:
    program = "import sys; import ml.__main__; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
