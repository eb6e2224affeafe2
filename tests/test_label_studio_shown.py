"""What a task is filled in with when the version in use learnt under an older schema."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from annotate import payloads
from ml import schema
from ml.types import HeadPrediction
from tests.conftest import case_named, predict, trained_version
from webapp.actions import label_studio
from webapp.models import Case, LabelStudioProject, LabelStudioTask, Outbox, Schema

SAID = {
    "place": HeadPrediction("sea", 0.5, {"sea": 0.5}),
    "thing": HeadPrediction("ship", 0.5, {"ship": 0.5}),
    "mood": HeadPrediction(["calm", "glad"], 0.5, {"calm": 0.9, "glad": 0.9}),
    "names": HeadPrediction([{"start": 0, "end": 3, "label": "NAME"}, {"start": 4, "end": 7, "label": "AGE"}], None),
    "manner": HeadPrediction({"opening": {"greets": True, "waves": True}, "hold": {"thanks": True}}, 0.5, {}),
}
NEWER = """
name = "toy"
title = "Toy"
version = 2
[[heads]]
key = "place"
name = "Place"
kind = "choice"
labels = [{ key = "land", name = "land", definition = "d" }, { key = "air", name = "air", definition = "d" }]
[[heads]]
key = "mood"
name = "Mood"
kind = "choices"
labels = [{ key = "calm", name = "calm", definition = "d" }, { key = "angry", name = "angry", definition = "d" }]
[[heads]]
key = "names"
name = "Names"
kind = "spans"
labels = [{ key = "NAME", name = "NAME", definition = "d" }]
[[heads]]
key = "manner"
name = "Manner"
kind = "rubric"
[[heads.groups]]
key = "opening"
name = "Opening"
criteria = [{ key = "greets", name = "Greets", definition = "d" }]
"""


class Recording:
    """Keeps what Label Studio would be sent."""

    def replace_predictions(self, project: int, entries: dict[int, Any], version: str) -> None:
        self.entries = entries


@pytest.fixture
def narrowed(toy: Schema, import_rows: Any) -> Case:
    """A case that the champion of version 1 answered, under a schema whose version 2 dropped heads and labels."""
    import_rows(toy, {"id": "1", "text": "Ada was here"}, {"id": "2", "text": "Bob was here"})
    champion = trained_version(toy)
    for name in "12":
        predict(champion, name, {key: SAID[key] for key in ("place", "thing", "mood")})
    case = case_named("1")
    case.current_prediction.heads = {key: head.as_json() for key, head in SAID.items()}
    case.current_prediction.save()
    return case


def test_heads_and_labels_that_the_schema_lacks_are_not_shown(narrowed) -> None:
    parsed = schema.parse(NEWER)
    shown = label_studio.shown(parsed, narrowed)
    assert {key: head.answer for key, head in shown.items()} == {
        "mood": ["calm"],
        "names": [{"start": 0, "end": 3, "label": "NAME"}],
        "manner": {"opening": {"greets": True}},
    }
    assert payloads.predictions_entry(parsed, shown, "version 1", rank=0.0)["result"]


def test_one_case_that_cannot_be_shown_keeps_no_other_from_being_filled_in(toy, narrowed) -> None:
    newest = toy.versions.get()
    project = LabelStudioProject.objects.create(schema=toy, schema_version=newest, project=1)
    for number, name in enumerate("12", start=10):
        case = case_named(name)
        LabelStudioTask.objects.create(case=case, project=project, task=number, sent_at=timezone.now())
    Case.objects.update(state="labelling")
    narrowed.current_prediction.heads = {
        "mood": {"answer": ["calm"], "confidence": 1},
        "place": {"answer": "sea", "confidence": 1},
    }
    narrowed.current_prediction.heads["names"] = {"answer": [{"start": "x", "label": "NAME"}], "confidence": None}
    narrowed.current_prediction.save()
    there = Recording()
    label_studio._refresh(there, project, list(Outbox.objects.none()))
    assert there.entries[11]["result"] != []
    assert there.entries[10]["result"] == []
