"""All that the page of one case shows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ml.policy import FlagKind
from ml.schema import Head, Kind, Schema
from webapp.models import Annotation, Case, Label, Prediction
from webapp.queries import schemas, wording

SHOWN_AT_ONCE = 6  # Candidates of a head before "all labels"
SHOWN_ALL = 8  # So few are never folded


@dataclass(frozen=True, slots=True)
class Option:
    """One label that may be picked."""

    key: str
    name: str
    definition: str
    parent: str
    probability: float | None
    is_chosen: bool

    @property
    def percent(self) -> str:
        """The probability as people read it."""
        return _percent(self.probability)


@dataclass(frozen=True, slots=True)
class Mark:
    """One criterion of a rubric with its answer: "yes", "no", "na" or none yet; `percent` is how probable a yes is."""

    key: str
    name: str
    definition: str
    value: str
    percent: str


@dataclass(frozen=True, slots=True)
class SpanView:
    """One entity with the words it covers."""

    value: str  # "start:end:label", as the form sends it
    name: str
    words: str
    confidence: str = ""


@dataclass(frozen=True, slots=True)
class HeadView:
    """One head as the form shows it."""

    head: Head
    options: tuple[Option, ...]
    groups: tuple[tuple[str, tuple[Mark, ...]], ...]
    spans: tuple[SpanView, ...]
    confidence: str
    is_none: bool  # A `choices` head that was answered with no label at all
    is_guess: bool = False  # By a version that was not trained
    is_uncalibrated: bool = False  # By a version that was trained on too few labels to say how sure it is
    is_labelled: bool = False
    is_required: bool = False

    @property
    def likely(self) -> tuple[Option, ...]:
        """The candidates that are shown at once, most probable first."""
        return self.options if len(self.options) <= SHOWN_ALL else self.options[:SHOWN_AT_ONCE]

    @property
    def rest(self) -> tuple[Option, ...]:
        """The other candidates."""
        return self.options[len(self.likely) :]


@dataclass(frozen=True, slots=True)
class Turn:
    """What one speaker says, cut where entities begin and end: (words, entity name or the empty text)."""

    speaker: str
    pieces: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class CasePage:
    """The page of one case."""

    case: Case
    schema: Schema
    reason: str
    is_urgent: bool
    is_blind: bool
    heads: tuple[HeadView, ...]
    turns: tuple[Turn, ...]
    history: tuple[Annotation, ...]
    shown: Prediction | None


def page(case: Case, *, chosen: dict[str, Any] | None = None) -> CasePage:
    """Return the page of a case; `chosen` are answers that a person gave and that could not be saved.

    Until a person has answered an audited case, its page shows nothing that the model or an import said.
    """
    schema = schemas.newest_version(case.schema).parsed
    is_blind = case.is_audit and case.is_open
    labels = {} if is_blind else {label.head: label for label in case.labels.all()}
    shown = None if is_blind else case.current_prediction
    said = shown.heads if shown else {}
    is_guess = shown is not None and not shown.version.is_trained
    flags = wording.told(case.flags.filter(resolved_at=None), blind=is_blind)
    routing = schemas.policy(case.schema).parsed.thresholds
    text = case.stored_text.text
    views = []
    for head in schema.heads:
        answer = _answer(head, labels.get(head.key), said.get(head.key), chosen)
        view = _view(head, answer, said.get(head.key), text)
        views.append(
            replace(
                view,
                is_guess=is_guess and head.key in said,
                is_uncalibrated=not is_guess and _is_uncalibrated(head, said.get(head.key)),
                is_labelled=head.key in labels,
                is_required=head.key in routing,
            )
        )
    spans = [span for view in views for span in view.spans]
    history = case.annotations.select_related("annotator").order_by("-id")
    return CasePage(
        case=case,
        schema=schema,
        reason=wording.reason(schema, flags, blind=is_blind),
        is_urgent=any(flag.kind in (FlagKind.URGENT, FlagKind.ESCALATION) for flag in flags),
        is_blind=is_blind,
        heads=tuple(views),
        turns=tuple(_turns(text, spans)),
        history=() if is_blind else tuple(history),
        shown=shown,
    )


def _is_uncalibrated(head: Head, said: dict[str, Any] | None) -> bool:
    if said is None:
        return False
    found = [said] if head.kind != Kind.SPANS else said["answer"]  # Spans have a confidence each
    return any(part.get("confidence") is None for part in found)


def _answer(head: Head, label: Label | None, said: dict[str, Any] | None, chosen: dict[str, Any] | None) -> Any:
    if chosen is not None:
        return chosen.get(head.key)
    if label is not None:
        return label.answer
    return said["answer"] if said else None


def _view(head: Head, answer: Any, said: dict[str, Any] | None, text: str) -> HeadView:
    found = said or {}
    probabilities = found.get("probabilities") or {}
    return HeadView(
        head=head,
        options=_options(head, answer, probabilities),
        groups=_groups(head, answer or {}, probabilities) if head.kind == Kind.RUBRIC else (),
        spans=_spans(head, answer or [], text) if head.kind == Kind.SPANS else (),
        confidence=_percent(found.get("confidence")),
        is_none=answer == [],
    )


def _options(head: Head, answer: Any, probabilities: dict[str, float]) -> tuple[Option, ...]:
    if head.kind not in (Kind.CHOICE, Kind.CHOICES):
        return ()
    chosen = {answer} if isinstance(answer, str) else set(answer or [])
    options = [
        Option(
            label.key,
            label.name,
            label.definition,
            label.parent or "",
            probabilities.get(label.key),
            label.key in chosen,
        )
        for label in head.labels
    ]
    if head.kind == Kind.CHOICE and not head.ordered:
        options.sort(key=lambda option: (not option.is_chosen, -(option.probability or 0.0)))
    return tuple(options)


def _groups(
    head: Head, answer: dict[str, dict[str, bool | None]], probabilities: dict[str, float]
) -> tuple[tuple[str, tuple[Mark, ...]], ...]:
    words = {True: "yes", False: "no", None: "na"}
    return tuple(
        (
            group.name,
            tuple(
                Mark(
                    f"{group.key}.{criterion.key}",
                    criterion.name,
                    criterion.definition,
                    words[answer[group.key][criterion.key]] if criterion.key in answer.get(group.key, {}) else "",
                    _percent(probabilities.get(f"{group.key}.{criterion.key}")),
                )
                for criterion in group.criteria
            ),
        )
        for group in head.groups
    )


def _spans(head: Head, answer: list[dict[str, Any]], text: str) -> tuple[SpanView, ...]:
    return tuple(
        SpanView(
            f"{span['start']}:{span['end']}:{span['label']}",
            head.name_of(span["label"]),
            text[span["start"] : span["end"]],
            _percent(span.get("confidence")),
        )
        for span in answer
    )


def _percent(probability: float | None) -> str:
    return "" if probability is None else wording.percent(probability)


def _turns(text: str, spans: list[SpanView]) -> list[Turn]:
    """Cut a transcript into turns. A line that begins "Somebody:" is a turn; what follows without one belongs to it."""
    marks = sorted((int(start), int(end), span.name) for span in spans for start, end, _ in [span.value.split(":", 2)])
    turns = []
    offset = 0
    for line in text.split("\n"):
        speaker, colon, said = line.partition(":")
        begins = bool(colon) and len(speaker) <= 40 and bool(said.strip())
        start = offset + (len(speaker) + 1 if begins else 0)
        pieces = tuple(_pieces(text, start, offset + len(line), marks))
        if line.strip():
            turns.append(Turn(speaker.strip() if begins else "", pieces))
        offset += len(line) + 1
    return turns


def _pieces(text: str, start: int, end: int, marks: list[tuple[int, int, str]]) -> list[tuple[str, str]]:
    pieces = []
    for first, last, name in marks:
        if first < start or last > end:
            continue
        if first > start:
            pieces.append((text[start:first], ""))
        pieces.append((text[first:last], name))
        start = last
    pieces.append((text[start:end], ""))
    return [(words, name) for words, name in pieces if words]
