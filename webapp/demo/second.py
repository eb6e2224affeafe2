"""What two people would have said of some of the demo's calls: one as the call was written, the other now and then the
second likeliest. They are nobody, and their names say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from itertools import islice
from random import Random
from typing import Any

from annotate.files import Said
from ml import policy, schema
from ml.types import Example, Labels
from webapp.demo import generate, parts

NAMES = ("Annotator 1 (synthetic)", "Annotator 2 (synthetic)")
CASES = 40  # Of those that are learnt from: the held-out ones keep the labels that they were written with
SHARES = {"sub_category": 0.15, "priority": 0.25, "intervention": 0.2, "entities": 0.2, "call_quality": 0.3}


def answers(*, seed: int = 0) -> Iterator[tuple[Example, tuple[Said, Said]]]:
    """Yield calls, each with what the two say of it; the same for a seed."""
    rng, read, topics = Random(seed), schema.load("helpline"), parts.topics()  # noqa: S311 - answers, not secrets
    learnt = (call for call in generate.helpline(seed) if call.labels and _side(call) == policy.Side.TRAIN)
    for call in islice(learnt, CASES):
        differs = {head for head, share in SHARES.items() if rng.random() < share}
        topic = topics[str(call.labels["sub_category"])]
        other = _second(read, topic, call.labels, differs, rng)
        yield call, (Said(NAMES[0], dict(call.labels)), Said(NAMES[1], other))


def _side(call: Example) -> policy.Side:
    return policy.side_of(call.source, call.id, is_audit=False, has_labels=True)


def _second(read: schema.Schema, topic: dict[str, Any], labels: Labels, differs: set[str], rng: Random) -> Labels:
    """Return the labels with the second likeliest answer, by how calls are written, to the heads that differ."""
    found: dict[str, Any] = deepcopy(dict(labels))
    combinations = topic["interventions"]
    if "sub_category" in differs:
        of_main = [label.key for label in read.head("sub_category").children(found["main_category"])]
        if others := [key for key in of_main if key != found["sub_category"]]:
            found["sub_category"] = rng.choice(others)
    if "intervention" in differs:
        others = [one for one in combinations[found["priority"]] if sorted(one) != sorted(found["intervention"])]
        chosen = others[0] if others else found["intervention"][:-1]
        found["intervention"] = [label.key for label in read.head("intervention").labels if label.key in chosen]
    if "priority" in differs:
        near = str(min(3, int(found["priority"]) + 1)) if found["priority"] != "3" else "2"
        found["priority"] = next((one for one in combinations if one != found["priority"]), near)
    if "entities" in differs:
        found["entities"] = found["entities"][:-1]
    if "call_quality" in differs:
        group = rng.choice(sorted(found["call_quality"].keys() - {"hold"}))  # Whether there was a hold is plain
        mark = rng.choice(sorted(found["call_quality"][group]))
        found["call_quality"][group][mark] = not found["call_quality"][group][mark]
    return found
