"""Calling everything that the documents of the API describe, with what nobody would send, by schemathesis."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import schemathesis
from hypothesis import strategies as st
from ninja import NinjaAPI
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

PHASES = ("examples", "coverage", "fuzzing", "stateful")
REFUSALS = [400, 401, 403, 404, 405, 409, 413, 415, 422]
IN_FIVE = 5

Known = dict[str, list[Any]]  # Values that exist, by the name that they have in requests, or by "PATH NAME"


@dataclass
class Findings:
    """What came of some calls: how often each status was answered, and what was wrong, each fault once."""

    statuses: Counter[int] = field(default_factory=Counter)
    faults: dict[str, str] = field(default_factory=dict)

    @property
    def examples(self) -> int:
        """How many calls were answered."""
        return self.statuses.total()

    @property
    def share_accepted(self) -> float:
        """Share that was answered 2xx."""
        return sum(n for status, n in self.statuses.items() if 200 <= status < 300) / max(1, self.examples)

    def note(self, event: Any) -> None:
        """Count what an event tells of."""
        if isinstance(event, events.FatalError):
            raise event.exception
        if isinstance(event, events.NonFatalError):
            self.faults[f"{event.label}: {type(event.value).__name__}"] = str(event.value)
        if not isinstance(event, events.ScenarioFinished):
            return
        said = event.recorder
        for one in said.interactions.values():
            if one.response is not None:
                self.statuses[one.response.status_code] += 1
        for check in (check for checks in said.checks.values() for check in checks if check.failure_info):
            place = f"{said.label}: {check.name}: {check.failure_info.failure.title}"
            self.faults.setdefault(place, f"{check.failure_info.failure.message}\n{check.failure_info.code_sample}")


def fuzz(
    api: NinjaAPI, url: str, secret: str, known: Known, *, examples: int, prefix: str, lenient: bool = False
) -> Findings:
    """Call an API about so often with what it declares as right, and beside that with what it declares as wrong.

    Args:
        url: where it is served.
        secret: of a token that opens everything.
        known: these take the place of what is drawn four times in five, so that what is called exists.
        prefix: of the addresses.
        lenient: whether what is declared as wrong may be taken all the same.
    """
    found = Findings()
    document = json.loads(json.dumps(api.get_openapi_schema(path_prefix=prefix)))
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    with_input = sum("requestBody" in one or "parameters" in one for one in operations)
    each = -(-examples // with_input)
    checks: dict[str, Any] = {"negative_data_rejection": {"enabled": not lenient, "expected-statuses": REFUSALS}}
    settings = {"seed": 1, "base-url": url, "headers": {"Authorization": f"Bearer {secret}"}, "checks": checks}
    turns = (
        (["fuzzing", "stateful"], {"mode": "positive", "max-examples": each}),
        (["examples", "coverage"], {"mode": "all"}),
        (["fuzzing"], {"mode": "negative", "max-examples": max(1, each // 10)}),
    )
    for phases, generation in turns:
        enabled = {name: {"enabled": name in phases} for name in PHASES}
        config = SchemathesisConfig.from_dict(settings | {"phases": enabled, "generation": generation})
        schema = schemathesis.openapi.from_dict(document, config=config)
        if generation["mode"] == "positive":
            _make_familiar(schema, known)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Its own, of large examples
            for event in from_schema(schema).execute():
                found.note(event)
    return found


def _make_familiar(schema: Any, known: Known) -> None:
    """Let most of what is drawn be what exists."""

    @schema.hook
    def flatmap_path_parameters(context: Any, path_parameters: Any) -> Any:
        return _familiar(path_parameters, known, context.operation.path)

    @schema.hook
    def flatmap_body(context: Any, body: Any) -> Any:
        return _familiar(body, known, context.operation.path)


@st.composite
def _familiar(draw: Any, drawn: Any, known: Known, path: str) -> Any:
    if isinstance(drawn, list):
        return [draw(_familiar(one, known, path)) for one in drawn]
    if not isinstance(drawn, dict):
        return drawn
    changed = {}
    for name, value in drawn.items():
        there = known.get(f"{path} {name}", known.get(name, []))
        is_known = there and draw(st.integers(1, IN_FIVE)) < IN_FIVE
        changed[name] = draw(st.sampled_from(there) if is_known else _familiar(value, known, path))
    return changed
