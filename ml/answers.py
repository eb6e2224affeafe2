"""Reading labels as they really come: through aliases, without regard to case, with every fault reported.

`read` takes what an import file, an API call or a labelling tool holds for the heads of one case and returns answers in
the one form that `ml.types` describes. A head with a fault is left out, so that no half-understood answer is learnt
from, and each fault is returned beside the good answers, so that nothing valid is lost.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from ml.schema import Group, Head, Kind, Label, Schema, folded
from ml.types import Answer, Labels, Rubric, Span

# A message repeats a faulty value only if it may be a label: a text, or a part of one, may sit in the wrong column
LONGEST_SHOWN = 40  # Characters
MOST_WORDS_SHOWN = 5
DEEPEST_JSON = 3  # Exports have been seen with JSON in a string inside JSON


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault in the labels of one case; `message` is fit to show, `unknown` is the label that no alias explains."""

    head: str
    message: str
    unknown: str | None = None


class _Fault(Exception):
    """What is wrong with a value, which stands between the words before and after it."""

    def __init__(self, before: str, *value: object, after: str = "", is_unknown: bool = False) -> None:
        super().__init__(before)
        self.before, self.value, self.after, self.is_unknown = before, value, after, is_unknown

    def words(self, text: str) -> str:
        """Say what is wrong, without repeating anything of the case's text."""
        return " ".join([self.before, *(_shown(value, text) for value in self.value)]) + self.after

    def unknown(self, text: str) -> str | None:
        """Return the unknown label, or what it is where it may be of the case's text."""
        if not self.is_unknown:
            return None
        value = str(self.value[0])
        return value if _may_be_label(value, text) else _shown(value, text)


def read(
    schema: Schema, raw: Mapping[str, object], *, text: str, keeps_all_spans: bool = False
) -> tuple[Labels, list[Problem]]:
    """Read the answers of one case.

    Args:
        schema: the heads and their labels.
        raw: head key to value; None and the empty text mean unlabelled.
        text: the case's text, which bounds its spans.
        keeps_all_spans: whether spans that are empty, run beyond the text or stand twice are kept as they are, for
            whoever counts them, and are no problem.

    Returns:
        The answers of the heads that could be read, and the problems of the others. A rubric keeps its good groups.
        Where only a child head is given, its parent is answered too.
    """
    labels: Labels = {}
    problems: list[Problem] = []
    for head in schema.heads:
        value = raw.get(head.key)
        if value is None or value == "":
            continue
        try:
            labels[head.key] = _read_head(
                head, value, labels=labels, text=text, bounds=not keeps_all_spans, problems=problems
            )
        except _Fault as fault:
            problems.append(Problem(head.key, f"{head.key} {fault.words(text)}", fault.unknown(text)))
        else:
            _answer_ancestors(schema, head, labels)
    problems += [
        Problem(
            _named(key, text),
            f"{_named(key, text)} is not a head of the schema {schema.name}; expected {', '.join(schema.by_key)}",
            _named(key, text),
        )
        for key in raw
        if key not in schema.by_key
    ]
    return {head.key: labels[head.key] for head in schema.heads if labels.get(head.key, {}) != {}}, problems


def head_named(schema: Schema, name: str) -> Head | None:
    """Return the head whose key, name or alias this is, without regard to case."""
    wanted = folded(name)
    for head in schema.heads:
        if wanted in {folded(known) for known in head.spellings}:
            return head
    return None


def _read_head(
    head: Head, value: object, *, labels: Labels, text: str, bounds: bool, problems: list[Problem]
) -> Answer:
    match head.kind:
        case Kind.CHOICE:
            return _read_choice(head, value, parent=labels.get(head.parent or ""))
        case Kind.CHOICES:
            return _read_choices(head, value)
        case Kind.SPANS:
            return _read_spans(head, value, text if bounds else None)
        case Kind.RUBRIC:
            return _read_rubric(head, value, text, problems)


def _answer_ancestors(schema: Schema, head: Head, labels: Labels) -> None:
    """Answer the heads above a child that came alone: choosing a sub-category chooses its main category."""
    while head.parent is not None and head.parent not in labels:
        parent = head.by_key[str(labels[head.key])].parent
        if parent is None:
            return
        labels[head.parent] = parent
        head = schema.head(head.parent)


def _read_choice(head: Head, value: object, parent: Answer | None) -> str:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _Fault("is", value, after="; expected one label")
    found = _labels_named(head, _as_text(value), parent=parent)
    if not found:
        raise _unknown(head, _as_text(value))
    if len(found) > 1:
        meant = " or ".join(f"{label.key!r} (under {label.parent})" for label in found)
        raise _Fault("is", value, after=f", which may be {meant}; spell it as one of these, or give {head.parent}")
    if parent is not None and found[0].parent is not None and found[0].parent != parent:
        raise _Fault(f"is {found[0].key!r}, which belongs to {found[0].parent!r}; {head.parent} is {parent!r}")
    return found[0].key


def _read_choices(head: Head, value: object) -> list[str]:
    if isinstance(value, str):
        parts: Sequence[object] = _split(head, value)
    elif isinstance(value, list | tuple):
        parts = value
    else:
        raise _Fault("is", value, after="; expected a list of labels, or labels separated by commas")
    chosen = set()
    for part in parts:
        found = _labels_named(head, _as_text(part))
        if not found:
            raise _unknown(head, _as_text(part))
        chosen.add(found[0].key)
    return [key for key in head.keys if key in chosen]


def _split(head: Head, value: str) -> list[str]:
    """Split at line ends and commas, but keep a label whose own name holds a comma."""
    parts: list[str] = []
    for line in re.split(r"[\n;|]", value):
        parts += [line] if _labels_named(head, line) else line.split(",")
    return [part.strip() for part in parts if part.strip()]


def _read_spans(head: Head, value: object, text: str | None) -> list[Span]:
    """Read spans; without the text that bounds them, all that name two places are kept."""
    value = _from_json(value)
    if not isinstance(value, list):
        raise _Fault("is", value, after="; expected a list of start, end and label")
    spans: list[Span] = []
    for number, item in enumerate(value):
        if not isinstance(item, dict):
            raise _Fault(f"[{number}] is", item, after="; expected start, end and label")
        start, end = _offset(item.get("start")), _offset(item.get("end"))
        is_good = 0 <= start < end <= len(text) if text is not None else min(start, end) >= 0
        if not is_good:
            bound = "" if text is None else f" <= {len(text)}, the length of the text"
            expected = f"whole numbers with 0 <= start < end{bound}"
            given = f"from {_shown(item.get('start'), text or '')} to {_shown(item.get('end'), text or '')}"
            raise _Fault(f"[{number}] runs {given}; expected {expected}")
        found = _labels_named(head, _as_text(item.get("label", "")))
        if not found:
            raise _unknown(head, _as_text(item.get("label", "")))
        spans.append(Span(start=start, end=end, label=found[0].key))
    in_order = sorted(spans, key=_place)
    return in_order if text is None else [next(same) for _, same in groupby(in_order, key=_place)]


def _place(span: Span) -> tuple[int, int, str]:
    return span["start"], span["end"], span["label"]


def _read_rubric(head: Head, value: object, text: str, problems: list[Problem]) -> Rubric:
    value = _from_json(value)
    if not isinstance(value, dict):
        raise _Fault("is", value, after=f"; expected groups: {', '.join(group.key for group in head.groups)}")
    by_name = {folded(name): group for group in head.groups for name in (group.key, group.name)}
    rubric: Rubric = {}
    for name, marks in value.items():
        group = by_name.get(folded(str(name)))
        if group is None:
            expected = ", ".join(known.key for known in head.groups)
            problems.append(
                Problem(head.key, f"{head.key}.{_named(str(name), text)} is not a group; expected {expected}")
            )
            continue
        try:
            rubric[group.key] = _read_group(group, marks, text)
        except _Fault as fault:
            problems.append(Problem(head.key, f"{head.key}.{group.key}{_joined(fault.words(text))}"))
    return {group.key: rubric[group.key] for group in head.groups if rubric.get(group.key)}


def _read_group(group: Group, marks: object, text: str) -> dict[str, bool | None]:
    marks = _from_json(marks)
    keys = [criterion.key for criterion in group.criteria]
    phrases = {folded(phrase) for phrase in group.not_applicable}
    if isinstance(marks, list) and len(marks) == 1 and isinstance(marks[0], str) and folded(marks[0]) in phrases:
        marks = marks[0]
    if isinstance(marks, str) and folded(marks) in phrases:
        return dict.fromkeys(keys, None)
    if isinstance(marks, dict):
        for name in marks:
            if name not in keys:
                raise _Fault(f".{_named(str(name), text)} is not a criterion; expected {', '.join(keys)}")
        return {key: _read_mark(key, marks[key], phrases) for key in keys if key in marks}
    if not isinstance(marks, list):
        marks = [marks]
    if len(marks) != len(keys):
        raise _Fault(f"has {len(marks)} values; expected {len(keys)}, for {', '.join(keys)}")
    return {key: _read_mark(key, mark, phrases) for key, mark in zip(keys, marks, strict=True)}


def _joined(fault: str) -> str:
    """Put a space before a fault of the group itself; one of a criterion begins with its name."""
    return fault if fault.startswith(".") else f" {fault}"


def _read_mark(key: str, mark: object, phrases: set[str]) -> bool | None:
    if mark is None:
        return None
    known = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "n/a": None, "na": None}
    plain = folded(_as_text(mark))
    if plain in phrases:
        return None
    if plain not in known:
        raise _Fault(f".{key} is", mark, after="; expected yes, no or n/a (1, 0 or null)")
    return known[plain]


def _labels_named(head: Head, name: str, *, parent: Answer | None = None) -> list[Label]:
    """Return the labels that a text may mean: those under the given parent first, then those spelt exactly so."""
    wanted = folded(name)
    found = [label for label in head.labels if wanted in map(folded, label.spellings)]
    if parent is not None:
        found = [label for label in found if label.parent == parent] or found
    exact = [label for label in found if name.strip() in label.spellings]
    return exact or found


def _unknown(head: Head, value: str) -> _Fault:
    names = {folded(name): label.key for label in head.labels for name in label.spellings}
    near = difflib.get_close_matches(folded(value), names, n=1, cutoff=0.5)
    if near:
        hint = f"the nearest known label is {names[near[0]]!r}"
    else:
        hint = f"expected {', '.join(head.keys[:8])}{', ...' if len(head.keys) > 8 else ''}"
    return _Fault("has the unknown label", value, after=f"; {hint}", is_unknown=True)


def _from_json(value: object) -> object:
    """Unpack JSON that was written as a string, as often as it was."""
    for _ in range(DEEPEST_JSON):
        if not isinstance(value, str) or not value.lstrip().startswith(("{", "[", '"')):
            break
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as exc:
            raise _Fault(f"is not valid JSON: {exc}") from exc
    return value


def _offset(value: object) -> int:
    """Return a position in the text, or -1 for what is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) else -1


def _as_text(value: object) -> str:
    """Write a value as a label would be spelt: 2.0, as spreadsheets give it, is "2"."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def _may_be_label(value: str, text: str) -> bool:
    is_short = len(value) <= LONGEST_SHOWN and len(value.split()) <= MOST_WORDS_SHOWN
    return is_short and folded(value) not in folded(text)


def _shown(value: object, text: str) -> str:
    """Repeat a value that may be a label; of any other, which may tell what the text tells, say what it is."""
    if isinstance(value, str):
        return repr(value) if _may_be_label(value, text) else f"a text of {len(value):,} characters"
    if value is None or isinstance(value, bool | int | float):
        return repr(value) if len(repr(value)) <= LONGEST_SHOWN else "a long number"
    if isinstance(value, list | tuple | dict):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value):,}"
    return f"a {type(value).__name__}"


def _named(name: str, text: str) -> str:
    """Repeat the name of a field, unless it is none."""
    return name if _may_be_label(name, text) else _shown(name, text)
