"""Label Studio's ML backend protocol: what a project of somebody else asks of our model, in the words of that project.

A project has a configuration of its own. Each of its controls that offers labels of a head, under any of their
spellings, is answered by that head; the others are left to people. Pure functions: nothing is fetched, and nothing that
the project says of itself but its configuration and the texts of its tasks is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException  # type: ignore[import-untyped]
from defusedxml.ElementTree import fromstring  # type: ignore[import-untyped]

from annotate import config, payloads
from annotate.errors import PayloadError
from annotate.payloads import Region
from ml.schema import Head, Kind, Schema, folded
from ml.types import HeadPrediction, Prediction, spans_of

MOST_TASKS = 500  # In one request
KINDS = {"Choices": (Kind.CHOICE, Kind.CHOICES), "Labels": (Kind.SPANS,)}  # Of the heads that a tag can show


@dataclass(frozen=True, slots=True)
class Bound:
    """A control of theirs, with the head that answers it. `codes` maps label keys to what its results hold."""

    name: str
    to_name: str
    head: Head
    codes: Mapping[str, str]
    takes_several: bool


@dataclass(frozen=True, slots=True)
class Connection:
    """A project's configuration as a schema can answer it: the data key of its text, and the controls."""

    schema: Schema
    text_key: str
    is_ours: bool  # The configuration is the one that we make of the schema
    bound: tuple[Bound, ...] = ()


def connect(xml: object, schemas: Iterable[Schema]) -> Connection:
    """Return how the schema that answers most of a configuration does so.

    Raises:
        PayloadError: it is no configuration, shows no text, or asks nothing that a schema knows.
    """
    try:
        root = fromstring(str(xml))
    except (ParseError, DefusedXmlException, ValueError):
        raise PayloadError("label_config is not well-formed XML") from None
    texts = {
        name: value[1:]
        for tag in root.iter("Text")
        if (name := tag.get("name")) and (value := tag.get("value", "")).startswith("$") and not tag.get("valueType")
    }
    found = [connection for schema in schemas for connection in _connections(root, texts, schema)]
    if not found:
        raise PayloadError("no control of this project asks for labels of a schema, about a text of a task's data")
    return max(found, key=lambda connection: (connection.is_ours, len(connection.bound)))


def texts_of(connection: Connection, tasks: object) -> list[str]:
    """Return the text of each task; the empty text where it has none.

    Raises:
        PayloadError: there are no tasks, or too many.
    """
    if not isinstance(tasks, list) or not 1 <= len(tasks) <= MOST_TASKS:
        raise PayloadError(f"expected from 1 to {MOST_TASKS} tasks")
    found = (task.get("data") if isinstance(task, dict) else None for task in tasks)
    texts = (data.get(connection.text_key) if isinstance(data, dict) else None for data in found)
    return [text if isinstance(text, str) else "" for text in texts]


def result_of(connection: Connection, prediction: Prediction) -> list[Region]:
    """Return a prediction as the regions of a result, in the words of the project."""
    regions: list[Region] = []
    if connection.is_ours:
        for key, said in prediction.items():
            with suppress(PayloadError):  # The version in use may know labels that the newest schema has lost
                regions += payloads.result_of(connection.schema, {key: said.answer} if said.answer else {})
        return regions
    for bound in connection.bound:
        if bound.head.key in prediction:
            say = _spans if bound.head.kind == Kind.SPANS else _choices
            regions += say(bound, prediction[bound.head.key])
    return regions


def _connections(root: Element, texts: Mapping[str, str], schema: Schema) -> list[Connection]:
    names = {tag.get("name") for tag in root.iter()}
    if config.TEXT_NAME in texts and {control.name for control in config.controls(schema)} <= names:
        return [Connection(schema, texts[config.TEXT_NAME], is_ours=True)]
    bound = [found for tag in root.iter() if (found := _bind(tag, texts, schema)) is not None]
    if not bound:
        return []
    shown = bound[0].to_name  # One text of a task is read
    return [Connection(schema, texts[shown], False, tuple(one for one in bound if one.to_name == shown))]


def _bind(tag: Element, texts: Mapping[str, str], schema: Schema) -> Bound | None:
    name, to_name = tag.get("name"), tag.get("toName")
    if tag.tag not in KINDS or not name or to_name is None or to_name not in texts:
        return None
    options = [(option, option.get("alias") or option.get("value") or "") for option in tag]
    offered = {folded(shown): code for option, code in options for shown in (code, option.get("value") or "")}
    best: tuple[int, Head, dict[str, str]] | None = None
    for head in schema.of_kind(*KINDS[tag.tag]):
        codes = {
            label.key: offered[spelling]
            for label in head.labels
            for spelling in [next((folded(known) for known in label.spellings if folded(known) in offered), "")]
            if spelling
        }
        # A single label in common may be chance: half of what is offered has to be labels of the head
        if codes and 2 * len(set(codes.values())) >= len(options) and (best is None or len(codes) > best[0]):
            best = len(codes), head, codes
    if best is None:
        return None
    return Bound(name, to_name, best[1], best[2], takes_several=tag.get("choice") == "multiple")


def _choices(bound: Bound, said: HeadPrediction) -> list[Region]:
    keys = [said.answer] if isinstance(said.answer, str) else [str(key) for key in said.answer]
    known = [key for key in keys if key in bound.codes]
    if len(known) > 1 and not bound.takes_several:
        known = [max(known, key=lambda key: (said.probabilities or {}).get(key, 0.0))]
    return [_region(bound, "choices", {"choices": [bound.codes[key] for key in known]})] if known else []


def _spans(bound: Bound, said: HeadPrediction) -> list[Region]:
    regions = []
    for span in spans_of(said.answer):
        if span["label"] in bound.codes:
            value = {"start": span["start"], "end": span["end"], "labels": [bound.codes[span["label"]]]}
            region = _region(bound, "labels", value)
            regions.append(region | ({"score": span["confidence"]} if "confidence" in span else {}))
    return regions


def _region(bound: Bound, type_: str, value: dict[str, Any]) -> Region:
    return {"from_name": bound.name, "to_name": bound.to_name, "type": type_, "value": value}


def answer(version: str, results: Sequence[tuple[list[Region], float]]) -> dict[str, Any]:
    """Return the body that answers a request for predictions: results with their scores, in the order of the tasks."""
    found = [{"result": result, "score": score, "model_version": version} for result, score in results]
    return {"results": found, "model_version": version}
