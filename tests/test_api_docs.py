"""The examples of docs/api.md, run as they stand there."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.calling import token

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "api.md").read_text()


@pytest.mark.django_db(transaction=True)
def test_the_curl_examples_do_what_the_document_says(live_server: Any, sent: Any) -> None:
    from webapp.actions import schemas

    schemas.register_shipped()
    (examples,) = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    commands = [one for one in re.split(r"(?m)^(?=curl )", examples) if one]
    variables = {"URL": live_server.url, "TOKEN": token(name="pipeline"), "PATH": "/usr/bin:/bin"}
    said = [
        json.loads(subprocess.run(["bash", "-c", one], env=variables, capture_output=True, check=True).stdout)
        for one in commands
    ]
    assert said[0]["results"][0]["status"] == "created"
    assert [case["external_id"] for case in said[1]["cases"]] == ["17"]
    assert said[2]["results"][0]["status"] == "stored"
    assert said[3]["detail"] == "no trained version of helpline is in use yet"
