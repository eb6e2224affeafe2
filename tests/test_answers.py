"""Labels as files hold them become answers, and every fault becomes a problem."""

import json

import pytest

from ml import answers, schema
from ml.answers import Problem

HELPLINE = schema.load("helpline")
TEXT = "I am Amina from Kisumu."
HOLD = {"hold": {"explains": None, "thanks": None}}


def read(**raw):
    return answers.read(HELPLINE, raw, text=TEXT)


def messages(**raw):
    return [problem.message for problem in read(**raw)[1]]


@pytest.mark.parametrize(
    ("head", "value", "answer"),
    [
        pytest.param("main_category", "VANE", "VANE", id="key"),
        pytest.param("main_category", "  gender-based   violence ", "GBV", id="name, case and spaces"),
        pytest.param("main_category", ["VANE"], "VANE", id="list of one"),
        pytest.param("priority", 2.0, "2", id="number of a spreadsheet"),
        pytest.param("priority", 1, "1", id="whole number"),
        pytest.param("priority", "critical", "1", id="alias"),
        pytest.param("intervention", "Referral, Counseling", ["Counselling", "Referral"], id="commas, schema order"),
        pytest.param("intervention", "Counselling\nReferral", ["Counselling", "Referral"], id="lines"),
        pytest.param("intervention", "Referral; Referral", ["Referral"], id="none twice"),
        pytest.param("intervention", [], [], id="none at all is an answer"),
        pytest.param("entities", [], [], id="no spans is an answer"),
    ],
)
def test_an_answer_is_read_through_names_and_aliases(head, value, answer):
    assert read(**{head: value}) == ({head: answer}, [])


def test_nothing_and_the_empty_text_mean_unlabelled():
    assert read(main_category=None, priority="", intervention="") == ({}, [])


def test_a_sub_category_answers_its_main_category():
    labels, problems = read(sub_category="Bullying")
    assert labels == {"main_category": "Advice and Counselling", "sub_category": "Bullying"}
    assert problems == []


def test_exact_spelling_goes_before_case():
    assert read(sub_category="Legal issues")[0]["main_category"] == "Advice and Counselling"
    assert read(sub_category="Legal Issues")[0]["main_category"] == "Information"


def test_the_parent_decides_between_labels_that_differ_in_case():
    labels, problems = read(main_category="Information", sub_category="school related issues")
    assert labels["sub_category"] == "School Related Issues"
    assert problems == []


def test_a_label_that_may_be_two_is_a_problem_that_names_both():
    assert messages(sub_category="LEGAL ISSUES") == [
        (
            "sub_category is 'LEGAL ISSUES', which may be 'Legal issues' (under Advice and Counselling) or "
            "'Legal Issues' (under Information); spell it as one of these, or give main_category"
        )
    ]


def test_a_child_of_another_parent_is_a_problem_and_the_parent_stays():
    labels, problems = read(main_category="Nutrition", sub_category="Bullying")
    assert labels == {"main_category": "Nutrition"}
    assert [problem.message for problem in problems] == [
        "sub_category is 'Bullying', which belongs to 'Advice and Counselling'; main_category is 'Nutrition'"
    ]


def test_an_unknown_label_is_reported_with_the_nearest_and_the_rest_is_kept():
    labels, problems = read(main_category="VANE", intervention="Refferal")
    assert labels == {"main_category": "VANE"}
    assert problems == [
        Problem(
            "intervention",
            "intervention has the unknown label 'Refferal'; the nearest known label is 'Referral'",
            "Refferal",
        )
    ]


def test_an_unknown_label_that_is_near_to_none_lists_what_is_known():
    assert messages(priority="zebra") == ["priority has the unknown label 'zebra'; expected 1, 2, 3"]


@pytest.mark.parametrize(
    "value",
    [
        "Hello! " * 100,
        "she told nobody about it yet",  # Six words
        "x" * 41,
        "Amina from Kisumu",  # Of the text itself
        "from  KISUMU.",
    ],
)
def test_what_may_be_of_a_text_is_not_repeated(value):
    said = f"a text of {len(value.strip())} characters"
    problems = read(priority=value, intervention=[value], call_quality={value: {}, "opening": {value: 1}})[1]
    assert problems[0].unknown == said
    assert len(problems) == 4
    assert [
        said in problem.message.replace(f"{len(value)} ch", f"{len(value.strip())} ch") for problem in problems
    ] == [True] * 4
    assert value.strip() not in str(problems)


def test_a_value_of_another_kind_is_not_repeated():
    found = {"priority": {"my": "secret"}, "entities": [["my secret"]], "call_quality": [["my secret"]]}
    problems = read(**found)[1]
    assert "priority is an object of 1; expected one label" in [problem.message for problem in problems]
    assert "secret" not in str(problems)


def test_an_unknown_head_is_a_problem_that_lists_the_heads():
    assert messages(colour="red") == [
        (
            "colour is not a head of the schema helpline; "
            "expected main_category, sub_category, intervention, priority, entities, call_quality"
        )
    ]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param(["1", "2"], "priority is a list of 2; expected one label", id="two labels"),
        pytest.param(True, "priority is True; expected one label", id="true is not 1"),
    ],
)
def test_a_choice_that_is_not_one_label_is_a_problem(value, message):
    assert messages(priority=value) == [message]


def test_spans_are_sorted_and_none_is_kept_twice():
    name = {"start": 5, "end": 10, "label": "name"}
    place = {"start": 16, "end": 22, "label": "LOCATION"}
    labels, problems = read(entities=json.dumps([place, name, name]))
    assert labels["entities"] == [name | {"label": "NAME"}, place]
    assert problems == []


@pytest.mark.parametrize(
    ("start", "end"),
    [(-1, 3), (3, 3), (5, 4), (0, len(TEXT) + 1), (0, "4"), (0, 4.0), (True, 4), (None, 4)],
)
def test_a_span_outside_the_text_is_a_problem(start, end):
    assert read(entities=[{"start": start, "end": end, "label": "NAME"}]) == (
        {},
        [
            Problem(
                "entities",
                f"entities [0] runs from {start!r} to {end!r}; expected whole numbers with 0 <= start < end <= 23, "
                "the length of the text",
            )
        ],
    )


def test_a_span_may_reach_the_end_of_the_text():
    assert read(entities=[{"start": 22, "end": 23, "label": "NAME"}])[1] == []


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({"hold": "No hold was required"}, id="phrase"),
        pytest.param({"Hold": ["no hold  was required"]}, id="phrase in a list"),
        pytest.param({"hold": [None, None]}, id="nulls"),
        pytest.param({"hold": ["n/a", "N/A"]}, id="n/a for each"),
        pytest.param({"hold": {"explains": None, "thanks": "na"}}, id="by criterion"),
        pytest.param('{"hold": "No hold was required"}', id="JSON in a string"),
        pytest.param(json.dumps(json.dumps({"hold": "[null, null]"})), id="JSON in a string in a string"),
    ],
)
def test_a_hold_that_was_not_needed_is_not_applicable(value):
    assert read(call_quality=value) == ({"call_quality": HOLD}, [])


@pytest.mark.parametrize(
    ("mark", "answer"), [(1, True), ("1", True), (1.0, True), ("Yes", True), (True, True), (0, False), ("no", False)]
)
def test_yes_and_no_are_read_in_every_spelling(mark, answer):
    assert read(call_quality={"opening": mark})[0] == {"call_quality": {"opening": {"phrase": answer}}}


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        pytest.param({"listening": [1, 1, 1, 1]}, "call_quality.listening has 4 values; expected 5, for "
                     "uninterrupted, empathises, paraphrases, courteous, assured", id="too few"),
        pytest.param({"closing": [1, 0]}, "call_quality.closing has 2 values; expected 1, for phrase", id="too many"),
        pytest.param({"closing": "maybe"}, "call_quality.closing.phrase is 'maybe'; expected yes, no or n/a "
                     "(1, 0 or null)", id="neither yes nor no"),
        pytest.param({"closing": 2}, "call_quality.closing.phrase is 2; expected yes, no or n/a (1, 0 or null)",
                     id="a score"),
        pytest.param({"closing": "No hold was required"}, "call_quality.closing.phrase is 'No hold was required'; "
                     "expected yes, no or n/a (1, 0 or null)", id="the phrase of another group"),
        pytest.param({"closing": {"smile": 1}}, "call_quality.closing.smile is not a criterion; expected phrase",
                     id="unknown criterion"),
        pytest.param({"mood": 1}, "call_quality.mood is not a group; expected opening, listening, proactiveness, "
                     "resolution, hold, closing", id="unknown group"),
    ],
)  # fmt: skip
def test_a_bad_group_is_a_problem_and_the_good_ones_stay(groups, message):
    labels, problems = read(call_quality={"opening": True} | groups)
    assert labels == {"call_quality": {"opening": {"phrase": True}}}
    assert [problem.message for problem in problems] == [message]


def test_a_rubric_without_one_good_group_is_unlabelled():
    assert read(call_quality={"closing": "maybe"})[0] == {}


def test_broken_json_is_a_problem_and_not_an_error():
    (message,) = messages(call_quality='{"hold": ')
    assert message.startswith("call_quality is not valid JSON: ")


@pytest.mark.parametrize("name", ["Sub-category", "CATEGORY", "sub_category", " subcategory "])
def test_a_column_is_found_by_key_name_or_alias(name):
    assert answers.head_named(HELPLINE, name) is HELPLINE.head("sub_category")


def test_a_column_that_is_no_head_is_none():
    assert answers.head_named(HELPLINE, "county") is None
