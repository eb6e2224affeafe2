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
def test_the_curl_examples_do_what_the_document_says(live_server: Any, sent: Any, tmp_path: Path) -> None:
    from webapp.actions import schemas

    schemas.register_shipped()
    (examples,) = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    commands = [one for one in re.split(r"(?m)^(?=curl )", examples) if one]
    many = [{"external_id": str(n), "text": f"She is hungry, says caller {n}."} for n in range(500)]
    (tmp_path / "cases.json").write_text(json.dumps({"schema": "helpline", "cases": many}))
    variables = {"URL": live_server.url, "TOKEN": token(name="pipeline"), "PATH": "/usr/bin:/bin"}
    said: list[Any] = []
    for one in commands:
        done = subprocess.run(["bash", "-c", one], env=variables, cwd=tmp_path, capture_output=True, check=True)
        said.append(json.loads(done.stdout))
        variables["ID"] = str(said[0]["results"][0]["id"])
    assert said[0]["results"][0]["status"] == "created"
    statuses = [one["status"] for one in said[1]["results"]]
    assert (statuses.count("created"), statuses[17]) == (499, "refused"), "17 is known with another text"
    assert [case["external_id"] for case in said[2]["cases"]] == ["17"]
    assert said[3]["results"][0]["status"] == "stored"
    assert said[4]["detail"] == "no trained version of helpline is in use yet"
    assert (said[5]["external_id"], said[5]["labels"]["priority"]["answer"]) == ("17", "1")
    assert said[6]["state"] == "withdrawn"
