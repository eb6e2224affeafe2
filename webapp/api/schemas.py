"""The forms of requests and answers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from ninja import Schema
from pydantic import BeforeValidator, ConfigDict, Field, JsonValue, StrictBool

from webapp.api.base import MOST_ITEMS
from webapp.casefiles.cleaning import clean
from webapp.casefiles.columns import LONGEST
from webapp.models import CaseState


def _stored(value: Any) -> Any:
    return clean(value) if isinstance(value, str) else value


def _number(value: Any) -> Any:
    if isinstance(value, bool | str):
        raise ValueError("expected a number")  # noqa: TRY004 - or it would be no fault of the request
    return value


Integer = Annotated[int, BeforeValidator(_number)]  # As JSON Schema has it: 1.0 is one, true and "1" are none
Number = Annotated[int, Field(ge=0, lt=2**63), BeforeValidator(_number)]  # Of a row
Name = Annotated[str, BeforeValidator(_stored), Field(max_length=LONGEST["id"])]
Text = Annotated[str, Field(min_length=1, max_length=LONGEST["text"])]


class Request(Schema):
    """A body without fields that nobody reads."""

    model_config = ConfigDict(extra="forbid")


class CaseIn(Request):
    """A case as it is sent; a `conversation` is that of the same source."""

    text: Text
    external_id: Name | None = None
    conversation: Name | None = None
    sent_at: datetime | None = None
    metadata: dict[str, JsonValue] = {}


class CasesIn(Request):
    """Cases of one label schema."""

    schema_name: str = Field(alias="schema")
    cases: list[dict[str, JsonValue]] = Field(
        min_length=1,
        max_length=MOST_ITEMS,
        description="Each has a `text`, and may have `external_id`, `conversation`, `sent_at` and `metadata`.",
        examples=[[{"external_id": "17", "text": "She is hungry.", "metadata": {"county": "Nyeri"}}]],
    )


class Result(Schema):
    """What became of one item; a refused one has no id."""

    status: Literal["created", "known", "refused"]
    id: int | None
    external_id: str | None
    problems: list[str]


class ResultsOut(Schema):
    """What became of each item, in order."""

    results: list[Result]


class SearchIn(Request):
    """What cases are limited to. It is a body, since words and ids may name a person and addresses are logged."""

    schema_name: str | None = Field(None, alias="schema")
    state: CaseState | None = None
    source: Name | None = None
    external_ids: list[Name] | None = Field(None, max_length=MOST_ITEMS)
    conversation: Name | None = None
    words: Annotated[str, BeforeValidator(_stored), Field(max_length=200)] | None = None
    after: Number = 0
    limit: Integer = Field(100, ge=1, le=MOST_ITEMS)


class HeadOut(Schema):
    """What a version says of one head; `words` are those that it looked at, as (start, end, weight)."""

    answer: JsonValue
    confidence: float | None
    probabilities: dict[str, float] | None
    words: list[tuple[int, int, float]] | None = None


class PredictIn(Request):
    """Texts that are not stored. Characters are counted in each text as it is sent."""

    schema_name: str = Field(alias="schema")
    texts: list[Text] = Field(min_length=1, max_length=MOST_ITEMS)
    heads: list[str] | None = Field(None, description="The keys of heads; all that the version answers unless given.")
    probabilities: StrictBool = False
    explain: StrictBool = Field(False, description="Tell which words each head looked at.")


class PredictOut(Schema):
    """What the version in use says of each text, in order, and whether it is like those that the version learnt from.

    Nothing is said of a text that people answer blind; null then.
    """

    version: str
    predictions: list[dict[str, HeadOut]]
    familiar: list[bool | None]


class PredictionOut(Schema):
    """What a version says of a case, and whether that is like those that it learnt from."""

    version: str
    is_trained: bool
    is_familiar: bool
    at: datetime
    heads: dict[str, HeadOut]


class FlagOut(Schema):
    """Why a person is asked."""

    kind: str
    head: str | None


class LabelOut(Schema):
    """The answer that stands for a head."""

    answer: JsonValue
    rule: str
    decided_by: Literal["supervisor", "annotator", "system", "import"]
    at: datetime


class CaseOut(Schema):
    """What is known of a case. `is_blind` says that people answer it without hearing what a version says."""

    id: int
    source: str
    external_id: str
    schema_name: str = Field(alias="schema")
    conversation: str | None
    state: CaseState
    received_at: datetime
    sent_at: datetime | None
    is_blind: bool
    prediction: PredictionOut | None
    flags: list[FlagOut]
    labels: dict[str, LabelOut]


class CasesOut(Schema):
    """One page of cases; `after` goes into the next search, and is null at the end."""

    cases: list[CaseOut]
    after: int | None


class Correction(Request):
    """What a system says of a case that it names by its id or its external id."""

    id: Number | None = None
    external_id: Name | None = None
    labels: dict[str, JsonValue]
    note: Annotated[str, BeforeValidator(_stored), Field(max_length=2000)] = ""


class CorrectionsIn(Request):
    """Corrections; labels are read through the aliases of the schema."""

    corrections: list[Correction] = Field(min_length=1, max_length=MOST_ITEMS)


class CorrectionOut(Schema):
    """What became of a correction; `heads` are those that could be read."""

    status: Literal["stored", "known", "refused"]
    heads: list[str]
    problems: list[str]


class CorrectionsOut(Schema):
    """What became of each, in order."""

    results: list[CorrectionOut]
