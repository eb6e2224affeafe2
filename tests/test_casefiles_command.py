from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "webapp.casefiles", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_file_as_people_have_it_becomes_examples_and_faults_are_told_by_row(tmp_path: Path) -> None:
    rows = [
        {
            "uniqueid": "7",
            "narrative": "She went missing.",
            "main_category": "vane",
            "intervention": "Counseling, Referral",
        },
        {"uniqueid": "8", "narrative": "She came back.", "priority": "9"},
        {"uniqueid": "9"},
    ]
    file = tmp_path / "calls.jsonl"
    file.write_text("\n".join([*map(json.dumps, rows), "broken"]))
    done = run(file, "--out", tmp_path / "examples.jsonl")
    first, second = map(json.loads, (tmp_path / "examples.jsonl").read_text().splitlines())
    assert done.returncode == 0
    assert first == {
        "id": "7",
        "text": "She went missing.",
        "labels": {"main_category": "VANE", "intervention": ["Counselling", "Referral"]},
        "source": "calls",
    }
    assert second == {"id": "8", "text": "She came back.", "source": "calls"}
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["row 2", "row 3", "row 4"]


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "calls.txt").write_text("words")
    done = run(tmp_path / "calls.txt", "--out", tmp_path / "examples.jsonl")
    assert done.returncode == 2
    assert done.stderr.startswith("error: the file ends in '.txt'")


def test_a_file_or_schema_that_is_not_there_is_an_error_in_words(tmp_path: Path) -> None:
    out = tmp_path / "examples.jsonl"
    missing = run(tmp_path / "none.jsonl", "--out", out)
    assert (missing.returncode, missing.stderr) == (2, f"error: {tmp_path}/none.jsonl: No such file or directory\n")
    (tmp_path / "calls.jsonl").write_text('{"text": "a"}')
    unknown = run(tmp_path / "calls.jsonl", "--out", out, "--schema", "weather")
    assert unknown.returncode == 2
    assert unknown.stderr.startswith("error: ")
    assert "Traceback" not in unknown.stderr
    nowhere = run(tmp_path / "calls.jsonl", "--out", tmp_path / "none" / "examples.jsonl")
    assert (nowhere.returncode, nowhere.stderr[:6]) == (2, "error:")
