"""Settings, as a process of its own reads them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ADDRESS = "https://labels.example.org"
NEEDED = {
    "SECRET_KEY": "secret",
    "DATABASE_URL": "postgresql:///nowhere",
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "LABEL_STUDIO_WEBHOOK_SECRET": "secret",
}
TELL = """
import json
from webapp import settings
print(json.dumps([settings.LABEL_STUDIO_IS_EMBEDDED, settings.LABEL_STUDIO_URL, settings.LABEL_STUDIO_API_KEY]))
"""


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        pytest.param({}, [True, "http://127.0.0.1:8081", "of ours"], id="of var/env"),
        pytest.param({"LABEL_STUDIO_URL": ADDRESS}, [False, ADDRESS, "of ours"], id="of the environment"),
        pytest.param({"LABEL_STUDIO_URL_FILE": "address"}, [False, ADDRESS, "of ours"], id="of a file"),
        pytest.param(
            {"LABEL_STUDIO_URL_FILE": "address", "LABEL_STUDIO_API_KEY_FILE": "key"},
            [False, ADDRESS, "of theirs"],
            id="of files with the key",
        ),
    ],
)
def test_label_studio_is_embedded_unless_somebody_gives_an_address(
    tmp_path: Path, variables: dict[str, str], expected: list[object]
) -> None:
    (tmp_path / "env").write_text("LABEL_STUDIO_URL=http://127.0.0.1:8081\nLABEL_STUDIO_API_KEY=of ours\n")
    (tmp_path / "address").write_text(f"{ADDRESS}\n")
    (tmp_path / "key").write_text("of theirs\n")
    files = {name: str(tmp_path / value) for name, value in variables.items() if name.endswith("_FILE")}
    environment = {"PATH": os.defpath, "CASELOOP_VAR": str(tmp_path), **NEEDED, **variables, **files}
    answer = subprocess.run([sys.executable, "-c", TELL], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout) == expected
