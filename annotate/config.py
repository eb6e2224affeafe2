"""From a schema to what annotators see in Label Studio: the labelling configuration and the instructions.

`controls` is the one place that says which control of the screen stands for which part of which head; the
configuration is drawn from it, and `annotate.payloads` translates answers through it. Label Studio puts the `alias` of
a choice into results and shows its `value`, so results hold keys, and names may change at any time.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from xml.etree.ElementTree import Element, ParseError, SubElement, indent, tostring

from defusedxml import DefusedXmlException  # type: ignore[import-untyped]
from defusedxml.ElementTree import fromstring  # type: ignore[import-untyped]

from ml.schema import Criterion, Group, Head, Kind, Label, Schema

CASE_ID, TEXT, COVER = (
    "case_id",
    "text",
    "cover",
)  # The data keys of a task; exports mix them with controls, so names must differ
TEXT_NAME = "~text"  # The name of the text on the screen; no name of a control begins with a tilde
COMMENT_NAME = "~comment"
NONE = "%none"  # The alias of "none of these"; no code of a label can be it, since % is always followed by two digits
MARKS: Mapping[str, bool | None] = {"yes": True, "no": False, "na": None}
MARK_NAMES = {"yes": "Yes", "no": "No", "na": "N/A"}

LONGEST_LIST = 12  # Labels up to which all are shown at once; more become a drop-down list
# The keys that Label Studio itself would give out, in its order. It gives one to every choice that has none, hidden
# ones too, and a stray key would then answer a question that is not on the screen. So what shall have none gets a key
# that no keyboard produces.
HOTKEYS = "1234567890qwetasdfgzxcvbyiopjklnm"
NO_HOTKEY = "ctrl+alt+shift+f19"
STYLE = """
.cl { display: flex; gap: 24px; align-items: flex-start; }
.cl-case { flex: 1 1 46%; position: sticky; top: 0; max-height: calc(100vh - 150px); overflow-y: auto; }
.cl-questions { flex: 1 1 54%; min-width: 0; max-height: calc(100vh - 150px); overflow-y: auto; padding-right: 8px; }
.cl-head { margin-bottom: 16px; }
.cl h4 { margin: 0; font-size: 14px; line-height: 20px; font-weight: 400; }
.cl .lsf-choices { margin: 2px 0; }
.cl .lsf-choice__item, .cl .lsf-choice__checkbox { margin: 0 !important; padding: 0; line-height: 24px !important; }
.cl .lsf-choice_layout_inline { margin: 0 12px 0 0 !important; }
.cl-row { display: flex; align-items: center; justify-content: space-between; gap: 12px; }
.cl-row .lsf-choices { flex: none; white-space: nowrap; }
.cl-quiet sup { display: none; }
"""
TITLE, HINT, PLAIN = "font-weight: 600; font-size: 15px", "opacity: 0.75", "font-weight: 400"
BLIND = (
    "A task with nothing filled in is answered from the text alone, on purpose: "
    "such answers tell how good the model is."
)


@dataclass(frozen=True)
class Control:
    """One control of the screen, and the part of a head that it answers.

    `codes` maps what a result holds to what it means: the key of a label, or a mark of `MARKS`. A head with a parent
    has one control for each label of the parent, and a rubric has one for each criterion. `says_none` marks the tick
    that says of spans that there are none.
    """

    name: str
    head: Head
    codes: Mapping[str, str] = field(default_factory=dict)
    parent: str | None = None
    group: Group | None = None
    criterion: Criterion | None = None
    says_none: bool = False

    @property
    def type(self) -> str:
        """How Label Studio calls what this control puts into results."""
        return "labels" if self.head.kind == Kind.SPANS and not self.says_none else "choices"


def controls(schema: Schema) -> list[Control]:
    """Return the controls of a schema, in its order. Names depend on keys alone, so they outlive reordering."""
    return list(chain.from_iterable(_controls(schema, head) for head in schema.heads))


def build(schema: Schema) -> str:
    """Return the labelling configuration of a schema: the text with its spans, and beside it the questions."""
    screen = _Screen(schema)
    root = Element("View", className="cl")
    SubElement(root, "Style").text = STYLE
    case, questions = SubElement(root, "View", className="cl-case"), SubElement(root, "View", className="cl-questions")
    spans = schema.of_kind(Kind.SPANS)
    for head in spans:
        screen.add_labels(case, head)
    SubElement(case, "Text", name=TEXT_NAME, value=f"${TEXT}", granularity="word")
    for head in spans:
        screen.add_no_spans(case, head)
    for head in schema.heads:
        if head.kind == Kind.RUBRIC:
            screen.add_rubric(questions, head)
        elif head.kind != Kind.SPANS:
            screen.add_choices(questions, head)
    comment = _section(questions, "Comment")
    SubElement(comment, "TextArea", name=COMMENT_NAME, toName=TEXT_NAME, rows="2", maxSubmissions="1", editable="true")
    indent(root)
    return tostring(root, encoding="unicode")


def check(xml: str) -> list[str]:
    """Return what is wrong with a configuration, beyond what Label Studio checks; nothing if it is sound.

    Label Studio accepts conditions on controls and values that do not exist, and then never shows the block.
    """
    try:
        root = fromstring(xml)
    except (ParseError, DefusedXmlException, ValueError):
        return ["the configuration is not well-formed XML"]
    names = [name for tag in root.iter() if (name := tag.get("name"))]
    problems = [f"the name {name!r} stands twice" for name in sorted(set(names)) if names.count(name) > 1]
    values = {tag.get("name"): _values(tag) for tag in root.iter() if tag.get("toName")}
    for tag in root.iter():
        target, condition = tag.get("toName"), tag.get("whenTagName")
        if target is not None and target not in names:
            problems.append(f"{tag.get('name')!r} labels {target!r}, which does not exist")
        if condition is None:
            continue
        if condition not in values:
            problems.append(f"a block depends on the control {condition!r}, which does not exist")
            continue
        unknown = [value for value in tag.get("whenChoiceValue", "").split(",") if value not in values[condition]]
        problems += [f"a block depends on {value!r}, which {condition!r} does not offer" for value in unknown]
    return problems


def guidelines(schema: Schema) -> str:
    """Return the project's instructions as HTML: the guidelines of the schema, then each question that it asks."""
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", schema.guidelines) if part.strip()]
    lines = [f"<h3>{html.escape(schema.title)}</h3>", *(f"<p>{html.escape(part)}</p>" for part in [*paragraphs, BLIND])]
    asked = [f"<li><b>{html.escape(head.name)}</b> {html.escape(head.question)}</li>" for head in schema.heads]
    return "\n".join([*lines, "<ul>", *asked, "</ul>"])


def code_of(key: str) -> str:
    """Write a label key so that Label Studio keeps it: conditions split at commas, and true and false change type."""
    if key in ("true", "false"):
        return f"%{ord(key[0]):02X}{key[1:]}"
    return re.sub(r"[%,\x00-\x1f\x7f-\x9f\ufffe\uffff]", lambda match: _percent(match[0]), key)


def _controls(schema: Schema, head: Head) -> Iterator[Control]:
    if head.kind == Kind.RUBRIC:
        marks = {mark: mark for mark in MARKS}
        for group in head.groups:
            for criterion in group.criteria:
                name = _name(head.key, group.key, criterion.key)
                yield Control(name, head, marks, group=group, criterion=criterion)
    elif head.parent is None:
        yield Control(_name(head.key), head, {code_of(key): key for key in head.keys})
        if head.kind == Kind.SPANS:
            yield Control(f"{_name(head.key)}~none", head, says_none=True)
    else:
        for parent in schema.head(head.parent).keys:
            codes = {code_of(label.key): label.key for label in head.children(parent)}
            yield Control(_name(head.key, parent), head, codes, parent=parent)


class _Screen:
    """Adds the controls of a schema to the XML, and hands out hotkeys in the order of the screen."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.by_head = {head.key: list(_controls(schema, head)) for head in schema.heads}
        self.hotkeys = iter(HOTKEYS)

    def add_labels(self, parent: Element, head: Head) -> None:
        control = self.by_head[head.key][0]
        # Labels are told apart by colour too, so these are chosen here: the same in every project and far apart.
        block = _control(_section(parent, head.name, head.question), "Labels", control)
        names = _shown_names(head.labels)
        for position, label in enumerate(head.labels):
            attributes = self._option(label, names[label.key]) | {"background": _colour(position, len(head.labels))}
            SubElement(block, "Label", attributes)

    def add_no_spans(self, parent: Element, head: Head) -> None:
        control = self.by_head[head.key][1]
        block = _control(SubElement(parent, "View", className="cl-quiet"), "Choices", control, choice="multiple")
        shown = f"Nothing to mark: {_visible(head.name)}"
        SubElement(block, "Choice", value=shown, alias=NONE, hotkey=NO_HOTKEY)

    def add_choices(self, parent: Element, head: Head) -> None:
        for control in self.by_head[head.key]:
            block = _section(parent, head.name, head.question)
            if head.parent is not None and control.parent is not None:
                above = self._control_with(self.schema.head(head.parent), control.parent)
                condition = {"visibleWhen": "choice-selected", "whenTagName": above.name}
                block.attrib.update(condition, whenChoiceValue=code_of(control.parent))
            self._add_options(block, control)

    def add_rubric(self, parent: Element, head: Head) -> None:
        block = _section(parent, head.name, head.question)
        block.set("className", "cl-head cl-quiet")
        for group, rows in _by_group(self.by_head[head.key]):
            _header(block, group.name, "margin-top: 6px; font-weight: 600")
            for control, criterion in rows:
                row = SubElement(block, "View", className="cl-row")
                _header(row, criterion.name, PLAIN)
                marks = _control(row, "Choices", control, choice="single", showInline="true")
                for mark, shown in MARK_NAMES.items():
                    SubElement(marks, "Choice", value=shown, alias=mark, hotkey=NO_HOTKEY)
                marks[0].set("hint", _attribute(criterion.definition))

    def _add_options(self, block: Element, control: Control) -> None:
        head = control.head
        labels = [head.by_key[key] for key in control.codes.values()]
        is_list = head.parent is not None or len(labels) > LONGEST_LIST
        looks = {"layout": "select"} if is_list else {"showInline": "true"}
        # Never single-radio: it names radio buttons after what they show, so all that show Yes switch each other off.
        choice = "multiple" if head.kind == Kind.CHOICES else "single"
        missing = _attribute(f"Please answer: {head.name}")
        block = _control(block, "Choices", control, choice=choice, required="true", requiredMessage=missing, **looks)
        names = _shown_names(labels)
        for label in labels:
            SubElement(block, "Choice", self._option(label, names[label.key], has_hotkey=not is_list))
        if head.kind == Kind.CHOICES:
            none = {"value": _unlike("None of these", {*names.values(), *control.codes}), "alias": NONE}
            SubElement(block, "Choice", none, hotkey=NO_HOTKEY if is_list else next(self.hotkeys, NO_HOTKEY))

    def _option(self, label: Label, shown: str, *, has_hotkey: bool = True) -> dict[str, str]:
        hotkey = next(self.hotkeys, NO_HOTKEY) if has_hotkey else NO_HOTKEY
        hint = _attribute(label.definition)
        return {"value": shown, "alias": code_of(label.key), "hint": hint, "hotkey": hotkey}

    def _control_with(self, head: Head, key: str) -> Control:
        return next(control for control in self.by_head[head.key] if key in control.codes.values())


def _by_group(found: Sequence[Control]) -> list[tuple[Group, list[tuple[Control, Criterion]]]]:
    groups: dict[str, tuple[Group, list[tuple[Control, Criterion]]]] = {}
    for control in found:
        if control.group is not None and control.criterion is not None:
            groups.setdefault(control.group.key, (control.group, []))[1].append((control, control.criterion))
    return list(groups.values())


def _section(parent: Element, name: str, question: str = "") -> Element:
    block = SubElement(parent, "View", className="cl-head")
    _header(block, name, TITLE)
    if question:
        _header(block, question, HINT)
    return block


def _header(parent: Element, shown: str, style: str) -> None:
    SubElement(parent, "Header", value=_visible(shown), size="5", style=style)


def _control(parent: Element, tag: str, control: Control, **attributes: str) -> Element:
    return SubElement(parent, tag, {"name": control.name, "toName": TEXT_NAME, **attributes})


def _values(control: Element) -> set[str]:
    options = (option for tag in ("Choice", "Label") for option in control.iter(tag))
    return {option.get("alias") or option.get("value") or "" for option in options}


def _name(*keys: str) -> str:
    """Name a control after its keys; different keys never give the same name, and none is that of a data key.

    Nor does any read as a number or a boolean: Label Studio would take it for one, and refuse the configuration.
    """
    name = ".".join(re.sub(r"[^A-Za-z0-9_-]", lambda match: f"~{ord(match[0]):x}~", key) for key in keys)
    return f"{name}~" if name in (CASE_ID, TEXT, COVER, "true", "false") or _is_number(name) else name


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True


def _shown_names(labels: Sequence[Label]) -> dict[str, str]:
    """Return what is shown of each label: its name, made unlike every other name and code of the control.

    Label Studio looks choices up by what it shows or by their alias, whichever comes first.
    """
    codes = {label.key: code_of(label.key) for label in labels}
    shown: dict[str, str] = {}
    for label in labels:
        taken = {NONE, *shown.values(), *(code for key, code in codes.items() if key != label.key)}
        shown[label.key] = _unlike(_visible(label.name), taken)
    return shown


def _unlike(name: str, taken: set[str]) -> str:
    number = 2
    unlike = name
    while unlike in taken:
        unlike, number = f"{name} ({number})", number + 1
    return unlike


def _visible(text: str) -> str:
    """Return a text that Label Studio shows as it is: after a dollar sign it would put in the task's data."""
    return _attribute(text).replace("$", "\uff04")


def _attribute(text: str) -> str:
    """Return a text without what XML cannot hold; true and false would change type."""
    plain = " ".join(re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]", "\ufffd", text).split())
    return f"{plain}." if plain in ("true", "false") else plain


def _percent(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode())


def _colour(position: int, count: int) -> str:
    """Return one of `count` colours that lie evenly around the wheel, dark enough for white letters."""
    hue = position / count * 6
    red, green, blue = (min(max(abs((hue - shift) % 6 - 3) - 1, 0), 1) for shift in (0, 2, 4))
    return "#" + "".join(f"{round(40 + 130 * part):02x}" for part in (red, green, blue))
