"""The words that ml, annotate and webapp share. Standard library only.

An answer is what stands for one head of one case. It is plain JSON, the same in files, tables and requests:

    choice    the key of a label                              "VANE"
    choices   keys of labels, in schema order, none twice     ["Counselling", "Referral"]
    spans     half-open character ranges of the text, sorted  [{"start": 4, "end": 9, "label": "NAME"}]
    rubric    group -> criterion -> yes, no, not applicable   {"hold": {"explains": None}}

A head that is absent from a set of labels is unlabelled, not negative.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NotRequired, TypeAlias, TypedDict


class Span(TypedDict):
    """A labelled range of characters, `start` included and `end` not."""

    start: int
    end: int
    label: str
    confidence: NotRequired[float]  # Only in predictions: the calibrated probability that the span is exactly right


Rubric: TypeAlias = dict[str, dict[str, bool | None]]
Answer: TypeAlias = str | list[str] | list[Span] | Rubric
Labels: TypeAlias = dict[str, Answer]


@dataclass(frozen=True, slots=True)
class Example:
    """One case text with whatever labels it has."""

    id: str
    text: str
    labels: Labels = field(default_factory=dict)
    source: str = ""
    conversation: str = ""
    sent_at: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


class HeadPredictionJson(TypedDict):
    """How one head's prediction is stored and sent."""

    answer: Answer
    confidence: float | None
    probabilities: NotRequired[dict[str, float]]


@dataclass(frozen=True, slots=True)
class HeadPrediction:
    """What one model says of one head of one case.

    `confidence` is the calibrated probability that the whole answer is exactly right, between 0 and 1; it is None
    where nobody trained the model that answers, or nothing calibrated the head, and for `spans`, which have one each.
    `probabilities` are calibrated too: they sum to 1 over the label keys for `choice`, are of each label by itself for
    `choices`, and say how probable a yes is where it applies for the "group.criterion" of a `rubric`; they are None for
    `spans`.
    """

    answer: Answer
    confidence: float | None
    probabilities: dict[str, float] | None = None

    def as_json(self) -> HeadPredictionJson:
        """Return the form that files and tables hold."""
        found: HeadPredictionJson = {"answer": self.answer, "confidence": self.confidence}
        if self.probabilities is not None:
            found["probabilities"] = self.probabilities
        return found

    @classmethod
    def from_json(cls, found: HeadPredictionJson) -> HeadPrediction:
        """Read back what `as_json` wrote."""
        return cls(found["answer"], found["confidence"], found.get("probabilities"))


Prediction: TypeAlias = dict[str, HeadPrediction]


def spans_of(answer: Answer) -> list[Span]:
    """Return the spans of an answer; none if it is of another kind."""
    return [item for item in answer if not isinstance(item, str)] if isinstance(answer, list) else []
