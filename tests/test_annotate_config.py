"""The labelling configuration: every schema gives one that is sound, and whose names and values never change."""

from __future__ import annotations

from dataclasses import replace
from xml.etree.ElementTree import Element

import pytest
from defusedxml.ElementTree import fromstring
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotate import config
from ml import schema as schemas
from ml.schema import Criterion, Group, Head, Kind, Label, Schema

QUICK = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])  # Schemas are large
KEYS = (
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    | st.sampled_from(
        ["true", "false", "text", "case_id", "%none", "a,b", "%2C", "~none", "a.b", "$text", "]]>", "<b>"]
    )
).map(str.strip)
KEYS = KEYS.filter(bool)
NAMES = KEYS | st.sampled_from(["Yes", "None of these", "same", "same", "$case_id", '"><Choice value="x"/>', "&amp;"])


def _unique_keys(most: int) -> st.SearchStrategy[list[str]]:
    return st.lists(KEYS, min_size=2, max_size=most, unique=True)


@st.composite
def schemas_of_any_kind(draw: st.DrawFn) -> Schema:
    """Draw a schema of up to five heads of any kind, dependent ones too, with whatever a TOML file may hold."""
    heads: list[Head] = []
    for key in draw(st.lists(KEYS, min_size=1, max_size=5, unique=True)):
        kind = draw(st.sampled_from(Kind))
        choices = [head.key for head in heads if head.kind == Kind.CHOICE]
        parent = draw(st.none() | st.sampled_from(choices)) if choices and kind == Kind.CHOICE else None
        heads.append(_head(draw, key, kind, next((head for head in heads if head.key == parent), None)))
    return Schema("generated", 1, draw(NAMES), draw(NAMES), tuple(heads), "")


def _head(draw: st.DrawFn, key: str, kind: Kind, parent: Head | None) -> Head:
    if kind == Kind.RUBRIC:
        groups = [Group(name, draw(NAMES), tuple(_criteria(draw))) for name in draw(_unique_keys(3))]
        return Head(key, draw(NAMES), kind, draw(NAMES), groups=tuple(groups))
    keys = draw(_unique_keys(16)) if parent is None else draw(_unique_keys(5).filter(lambda k: len(k) >= 2))
    parents = [None] * len(keys)
    if parent is not None:
        keys = [f"{key}{number}" for key in keys for number in range(len(parent.keys))]
        keys = list(dict.fromkeys(keys))
        parents = [parent.keys[number % len(parent.keys)] for number in range(len(keys))]
    labels = [Label(label, draw(NAMES), draw(NAMES), parent=above) for label, above in zip(keys, parents, strict=True)]
    return Head(key, draw(NAMES), kind, draw(NAMES), tuple(labels), parent=parent.key if parent else None)


def _criteria(draw: st.DrawFn) -> list[Criterion]:
    return [Criterion(key, draw(NAMES), draw(NAMES)) for key in draw(_unique_keys(3))]


def _one_head(head: Head) -> Schema:
    return Schema("one", 1, "One", "", (head,), "")


def _tags(xml: str, tag: str) -> list[Element]:
    return list(fromstring(xml).iter(tag))


@QUICK
@given(schemas_of_any_kind())
def test_every_schema_gives_a_sound_configuration(schema: Schema) -> None:
    assert config.check(config.build(schema)) == []


@QUICK
@given(schemas_of_any_kind())
def test_the_configuration_offers_exactly_what_the_controls_mean(schema: Schema) -> None:
    root = fromstring(config.build(schema))
    for control in config.controls(schema):
        (tag,) = [tag for tag in root.iter() if tag.get("name") == control.name]
        offered = [option.get("alias") for option in tag]
        has_none = control.says_none or control.head.kind == Kind.CHOICES
        assert offered == [*control.codes, *([config.NONE] if has_none else [])]
        assert tag.tag.lower() == control.type


@QUICK
@given(schemas_of_any_kind())
def test_no_name_stands_twice_nor_is_that_of_a_data_key(schema: Schema) -> None:
    names = [control.name for control in config.controls(schema)]
    assert len(set(names)) == len(names)
    assert not {config.CASE_ID, config.TEXT, config.TEXT_NAME, config.COMMENT_NAME} & set(names)


@QUICK
@given(schemas_of_any_kind())
def test_what_is_shown_is_unlike_every_other_name_and_code_of_its_control(schema: Schema) -> None:
    for tag in fromstring(config.build(schema)).iter():
        options = [option for option in tag if option.tag in ("Choice", "Label")]
        for option in options:
            others = [other for other in options if other is not option]
            assert option.get("value") not in {other.get(name) for other in others for name in ("value", "alias")}


@QUICK
@given(schemas_of_any_kind())
def test_no_text_is_filled_in_from_the_data_but_the_case(schema: Schema) -> None:
    dollars = [tag for tag in fromstring(config.build(schema)).iter() if "$" in (tag.get("value") or "")]
    assert [tag.get("value") for tag in dollars] == ["$text"]


@QUICK
@given(schemas_of_any_kind())
def test_no_attribute_of_a_label_reads_as_a_boolean(schema: Schema) -> None:
    for tag in fromstring(config.build(schema)).iter("Choice"):
        assert not {"true", "false"} & set(tag.attrib.values())


@given(st.lists(KEYS, unique=True))
def test_codes_of_different_keys_differ(keys: list[str]) -> None:
    assert len({config.code_of(key) for key in keys}) == len(keys)


def test_a_code_has_no_comma_since_conditions_are_split_there() -> None:
    assert config.code_of("Child, missing 50%") == "Child%2C missing 50%25"


@pytest.mark.parametrize("name", schemas.shipped())
def test_the_names_of_labels_may_change_without_changing_any_value(name: str) -> None:
    schema = schemas.load(name)
    renamed = replace(
        schema,
        heads=tuple(
            replace(head, labels=tuple(replace(label, name=f"New {label.name}") for label in head.labels))
            for head in schema.heads
        ),
    )
    before, after = (fromstring(config.build(each)) for each in (schema, renamed))
    assert [tag.get("alias") for tag in before.iter()] == [tag.get("alias") for tag in after.iter()]
    assert [tag.get("name") for tag in before.iter()] == [tag.get("name") for tag in after.iter()]


def test_reordering_heads_changes_no_name() -> None:
    schema = schemas.load("helpline")
    shuffled = replace(schema, heads=(*schema.heads[2:], *schema.heads[:2]))
    assert {control.name for control in config.controls(schema)} == {
        control.name for control in config.controls(shuffled)
    }


def test_a_sub_category_appears_under_its_main_category_only() -> None:
    (block,) = [
        view for view in _tags(config.build(schemas.load("helpline")), "View") if view.get("whenChoiceValue") == "VANE"
    ]
    assert block.get("whenTagName") == "main_category"
    aliases = [option.get("alias") for option in block.iter("Choice")]
    assert aliases == [label.key for label in schemas.load("helpline").head("sub_category").children("VANE")]


def test_every_choice_has_a_hotkey_of_ours_and_none_that_can_be_typed_twice() -> None:
    """Label Studio would give keys to choices that nobody sees, and a stray key would answer them."""
    options = [tag for tag in fromstring(config.build(schemas.load("helpline"))).iter() if tag.get("alias")]
    keys = [option.get("hotkey") for option in options]
    typed = [key for key in keys if key != config.NO_HOTKEY]
    assert None not in keys
    assert len(set(typed)) == len(typed)
    hidden = [view for view in _tags(config.build(schemas.load("helpline")), "View") if view.get("visibleWhen")]
    assert {option.get("hotkey") for view in hidden for option in view.iter("Choice")} == {config.NO_HOTKEY}


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('whenTagName="main_category"', 'whenTagName="main"', "depends on the control 'main', which does not exist"),
        ('whenChoiceValue="GBV"', 'whenChoiceValue="GVB"', "depends on 'GVB', which 'main_category' does not offer"),
        ('name="priority"', 'name="intervention"', "the name 'intervention' stands twice"),
        ('toName="~text"', 'toName="words"', "labels 'words', which does not exist"),
        ("</View>", "", "not well-formed XML"),
        ("<View", '<!DOCTYPE x [<!ENTITY a "b">]><View', "not well-formed XML"),
    ],
)
def test_check_finds(old: str, new: str, problem: str) -> None:
    broken = config.build(schemas.load("helpline")).replace(old, new, 1)
    assert any(problem in found for found in config.check(broken))


def test_guidelines_escape_what_a_schema_holds() -> None:
    head = Head("a", "<b>A</b>", Kind.CHOICES, "1 < 2?", (Label("x", "X", "x"),))
    schema = replace(_one_head(head), title="T & T", guidelines="One\nline.\n\n<script>alert(1)</script>")
    assert config.guidelines(schema) == (
        "<h3>T &amp; T</h3>\n<p>One line.</p>\n<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>\n"
        f"<p>{config.BLIND}</p>\n"
        "<ul>\n<li><b>&lt;b&gt;A&lt;/b&gt;</b> 1 &lt; 2?</li>\n</ul>"
    )
