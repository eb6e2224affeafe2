"""All that the page of one case shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ml import surrogates
from ml.policy import FlagKind
from ml.schema import Head, Kind, Schema
from ml.types import Span
from webapp.models import Case, Cover, Label, Prediction
from webapp.queries import history, schemas, transcript, wording
from webapp.queries.history import Line
from webapp.queries.sides import HeadSides, Sides
from webapp.queries.transcript import SpanView, Turn

SHOWN_AT_ONCE = 6  # Candidates of a head before "all labels"
SHOWN_ALL = 9  # So few are never folded: as many as there are keys
# Keys of the page that no head may have; see keys.html
TAKEN = "abnoruvwxy"


@dataclass(frozen=True, slots=True)
class Option:
    """One label that may be picked."""

    key: str
    name: str
    definition: str
    parent: str
    probability: float | None
    is_chosen: bool
    is_said: bool = False  # By the model

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
    said: str = ""  # By the model


@dataclass(frozen=True, slots=True)
class HeadView:
    """One head as the form shows it."""

    head: Head
    options: tuple[Option, ...]
    groups: tuple[tuple[str, tuple[Mark, ...]], ...]
    spans: tuple[SpanView, ...]
    confidence: str
    is_none: bool  # Answered with no label, or no span, at all
    is_guess: bool = False  # By a version that was not trained
    is_uncalibrated: bool = False  # By a version that was trained on too few labels to say how sure it is
    is_labelled: bool = False
    is_required: bool = False
    is_answered: bool = False  # By the model, whose answer a person may change
    letter: str = ""  # The key that goes to it
    looks: bool = False  # Whether it is known which words it looked at
    typed_words: str = ""  # That are to be marked
    typed_label: str = ""
    sides: HeadSides | None = None  # What several people answered
    known: tuple[Span, ...] = ()  # The entities that are shown, on the original text

    @property
    def likely(self) -> tuple[Option, ...]:
        """The candidates that are shown at once, most probable first."""
        return self.options if len(self.options) <= SHOWN_ALL else self.options[:SHOWN_AT_ONCE]

    @property
    def rest(self) -> tuple[Option, ...]:
        """The other candidates."""
        return self.options[len(self.likely) :]


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
    history: tuple[Line, ...]
    versions: tuple[Line, ...]  # What other versions than the one shown said
    known: int  # The newest annotation
    shown: Prediction | None
    look: str = ""  # The head whose words are marked
    sides: Sides | None = None
    cover: Cover | None = None  # By which names are hidden
    details: Mapping[str, Any] = field(default_factory=dict)  # What came with the case; it may name people


def page(
    case: Case,
    *,
    chosen: dict[str, Any] | None = None,
    look: str = "",
    since: int | None = None,
    sides: Sides | None = None,
    cover: Cover | None = None,
) -> CasePage:
    """Return the page of a case.

    Until a person has answered an audited case, its page shows nothing that the model or an import said.

    Args:
        case: what is shown.
        chosen: answers that a person gave and that are not saved, as the form sent them.
        look: the head whose words are marked; without one, none are before a head is chosen.
        since: the newest annotation that the reader knew of.
        sides: what several people answered. Where they are hidden, so is all that names people or tells of the model.
        cover: by which names are hidden; places on the page are those of the covered text then.
    """
    schema = schemas.newest_version(case.schema).parsed
    is_blind = case.is_audit and case.is_open
    labels = {} if is_blind else {label.head: label for label in case.labels.all()}
    is_hidden = sides is not None and sides.is_hidden
    tells_little = is_blind or is_hidden
    shown = None if tells_little else case.current_prediction
    said = shown.heads if shown else {}
    is_guess = shown is not None and not shown.version.is_trained
    flags = wording.told(case.flags.filter(resolved_at=None), blind=tells_little)
    if is_hidden:
        flags = [flag for flag in flags if "name" not in flag.facts]
    routing = schemas.policy(case.schema).parsed.thresholds
    over = cover.parsed if cover else surrogates.Cover()
    original = case.stored_text.text
    text = over.applied(original)
    looks = _moved(shown.looks if shown else {}, over)
    letters = _letters(schema)
    views = []
    for head in schema.heads:
        answer = _answer(head, labels.get(head.key), said.get(head.key), chosen)
        view = _view(
            head,
            answer,
            said.get(head.key),
            text,
            over,
            marked=sides.spans.get(head.key, ()) if sides else (),
        )
        views.append(
            replace(
                view,
                is_answered=head.key in said,
                letter=letters.get(head.key, ""),
                looks=bool(looks.get(head.key)),
                typed_words=(chosen or {}).get(f"{head.key}.words", ""),
                typed_label=(chosen or {}).get(f"{head.key}.label", ""),
                is_guess=is_guess and head.key in said,
                is_uncalibrated=not is_guess and _is_uncalibrated(head, said.get(head.key)),
                is_labelled=head.key in labels,
                is_required=head.key in routing,
                sides=sides.heads.get(head.key) if sides else None,
            )
        )
    spans = [span for view in views for span in view.spans if span.is_chosen]
    return CasePage(
        case=case,
        schema=schema,
        reason=wording.reason(schema, flags, blind=tells_little),
        is_urgent=any(flag.kind in (FlagKind.URGENT, FlagKind.ESCALATION) for flag in flags),
        is_blind=is_blind,
        heads=tuple(views),
        turns=transcript.turns(text, spans, looks),
        history=() if tells_little else _without_names(history.lines(case, schema, since=since), cover, original),
        versions=() if tells_little else history.versions(case, schema),
        known=history.newest(case),
        shown=shown,
        look=look if looks.get(look) else "",
        sides=sides,
        cover=cover,
        details={} if cover else case.metadata,
    )


def _without_names(lines: tuple[Line, ...], cover: Cover | None, text: str) -> tuple[Line, ...]:
    if cover is None:
        return lines
    return tuple(replace(line, note=cover.hide(line.note, text)) for line in lines)


def _moved(looks: Mapping[str, Any], over: surrogates.Cover) -> dict[str, list[tuple[int, int, float]]]:
    """Return what heads looked at as places of the covered text; of a surrogate, the most of its words."""
    found: dict[str, list[tuple[int, int, float]]] = {}
    for head, words in looks.items():
        most: dict[tuple[int, int], float] = {}
        for start, end, weight in words:
            place = over.out(int(start), int(end))
            most[place] = max(weight, most.get(place, weight))
        found[head] = [(*place, weight) for place, weight in most.items()]
    return found


def _letters(schema: Schema) -> dict[str, str]:
    """Give each head the first letter of its name that nothing else has; where all are taken, none."""
    found: dict[str, str] = {}
    for head in schema.heads:
        free = [one for one in head.name.lower() if one.isascii() and one.isalpha()]
        letter = next((one for one in free if one not in TAKEN and one not in found.values()), None)
        if letter is not None:
            found[head.key] = letter
    return found


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


def _view(
    head: Head,
    answer: Any,
    said: dict[str, Any] | None,
    text: str,
    over: surrogates.Cover,
    *,
    marked: Sequence[Span],
) -> HeadView:
    found = said or {}
    probabilities = found.get("probabilities") or {}
    model = found.get("answer")
    return HeadView(
        head=head,
        options=_options(head, answer, model, probabilities),
        groups=_groups(head, answer or {}, model or {}, probabilities) if head.kind == Kind.RUBRIC else (),
        spans=_spans(head, over.spans_out(answer or []), over.spans_out(model or []), over.spans_out(marked), text)
        if head.kind == Kind.SPANS
        else (),
        known=_known(answer or [], [*(model or []), *marked], over) if head.kind == Kind.SPANS else (),
        confidence=_percent(found.get("confidence")),
        is_none=answer == [],
    )


def _options(head: Head, answer: Any, model: Any, probabilities: dict[str, float]) -> tuple[Option, ...]:
    """Return the labels, the most probable first, and before them those that are chosen."""
    if head.kind not in (Kind.CHOICE, Kind.CHOICES):
        return ()
    chosen, said = ({found} if isinstance(found, str) else set(found or []) for found in (answer, model))
    options = [
        Option(
            label.key,
            label.name,
            label.definition,
            label.parent or "",
            probabilities.get(label.key),
            is_chosen=label.key in chosen,
            is_said=label.key in said,
        )
        for label in head.labels
    ]
    if not head.ordered:
        options.sort(key=lambda option: (not option.is_chosen, -(option.probability or 0.0)))
    return tuple(options)


def _groups(
    head: Head,
    answer: dict[str, dict[str, bool | None]],
    model: dict[str, dict[str, bool | None]],
    probabilities: dict[str, float],
) -> tuple[tuple[str, tuple[Mark, ...]], ...]:
    words = {True: "yes", False: "no", None: "na", "": ""}
    return tuple(
        (
            group.name,
            tuple(
                Mark(
                    f"{group.key}.{criterion.key}",
                    criterion.name,
                    criterion.definition,
                    words[answer.get(group.key, {}).get(criterion.key, "")],
                    _percent(probabilities.get(f"{group.key}.{criterion.key}")),
                    words[model.get(group.key, {}).get(criterion.key, "")],
                )
                for criterion in group.criteria
            ),
        )
        for group in head.groups
    )


def _known(answer: list[Span], others: list[Span], over: surrogates.Cover) -> tuple[Span, ...]:
    """Return the entities that stand, and those of others that look like none of them under the cover."""
    standing = {_value(span) for span in over.spans_out(answer)}
    return (*answer, *(span for span in others if _value(over.spans_out([span])[0]) not in standing))


def _spans(head: Head, answer: list[Span], model: list[Span], marked: list[Span], text: str) -> tuple[SpanView, ...]:
    """Return the entities that stand, and unticked those of the model, or of anybody, that do not."""
    standing = {_value(span) for span in answer}
    said = {_value(span): span for span in model}
    listed = sorted([*answer, *model, *marked], key=lambda span: (span["start"], span["end"]))
    found = {_value(span): span for span in listed}
    return tuple(
        SpanView(
            value,
            head.name_of(span["label"]),
            text[span["start"] : span["end"]],
            _percent(said.get(value, span).get("confidence")),
            is_said=value in said,
            is_chosen=value in standing,
        )
        for value, span in found.items()
    )


def _value(span: Span) -> str:
    return f"{span['start']}:{span['end']}:{span['label']}"


def _percent(probability: float | None) -> str:
    return "" if probability is None else wording.percent(probability)
