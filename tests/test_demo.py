"""The demo is the same for a seed, labelled by construction, and holds out what training never reads."""

import json
import re
import subprocess
import sys
import tomllib
from collections import Counter
from itertools import pairwise

import pytest

from ml import answers, policy, schema
from webapp import demo
from webapp.actions import imported_answers, imports
from webapp.demo import generate, parts, second
from webapp.demo.writing import Transcript, fill, words_for
from webapp.models import Flag
from webapp.roles import Role

HELPLINE = schema.load("helpline")
CUSTOMER = schema.load("customer")


@pytest.fixture(scope="module")
def calls():
    return list(generate.helpline(0))


@pytest.fixture(scope="module")
def messages():
    return list(generate.customer(0))


def is_test(example):
    return (
        policy.side_of(example.source, example.conversation or example.id, is_audit=False, has_labels=True)
        == policy.Side.TEST
    )


def split(examples):
    known = labelled(examples)
    return [row for row in known if not is_test(row)], [row for row in known if is_test(row)]


def masked_sentences(example):
    """Return the sentences of a call, with names, places and the like replaced by the labels of their spans."""
    text, names = example.text, {"NAME", "VICTIM", "LOCATION", "LANDMARK", "AGE", "PHONE_NUMBER"}
    for span in sorted(example.labels["entities"], key=lambda span: -span["start"]):
        if span["label"] in names:
            text = f"{text[: span['start']]}<{span['label']}>{text[span['end'] :]}"
    text = re.sub(r"^(Caller|Agent): ", "", text, flags=re.MULTILINE)
    return {sentence.strip() for sentence in re.split(r"(?<=[.?!…—])\s", text)} - {""}


def texts_of(part):
    if isinstance(part, dict):
        return [text for value in part.values() for text in texts_of(value)]
    return [text for value in part for text in texts_of(value)] if isinstance(part, list) else [part]


def test_the_same_seed_makes_the_same_cases_and_another_makes_others(calls, messages):
    assert list(generate.helpline(0)) == calls
    assert list(generate.customer(0)) == messages
    assert {call.text for call in generate.helpline(1)}.isdisjoint(call.text for call in calls)


def test_there_are_enough_calls_of_enough_kinds(calls):
    train, test = split(calls)
    assert (len(train), len(test), len(calls)) == (400, 180, 700)
    subs = Counter(call.labels["sub_category"] for call in train + test)
    assert len(subs) == 17
    assert min(subs.values()) >= 25
    assert len({call.labels["main_category"] for call in test}) == 7
    assert {call.labels["sub_category"] for call in test} == set(subs)


def test_every_criterion_is_met_and_missed_often_enough_to_be_learnt(calls):
    for side in split(calls):
        for group in HELPLINE.head("call_quality").groups:
            for criterion in group.criteria:
                marks = Counter(call.labels["call_quality"][group.key][criterion.key] for call in side)
                rated = marks[True] + marks[False]
                assert min(marks[True], marks[False]) >= 0.1 * rated, (group.key, criterion.key)
                assert rated >= 0.25 * len(side)
        assert all(len(set(map(type, call.labels["call_quality"]["hold"].values()))) == 1 for call in side)


def test_no_two_cases_share_an_id_or_a_text(calls, messages):
    assert len({call.id for call in calls}) == len(calls)
    assert len({call.text for call in calls}) == len(calls)
    assert len({message.id for message in messages}) == len(messages)


def test_calls_have_two_speakers_in_turn_and_a_readable_length(calls):
    for call in calls:
        speakers = [line.split(":")[0] for line in call.text.splitlines()]
        assert set(speakers) == {"Caller", "Agent"}
        assert all(one != other for one, other in pairwise(speakers))
        assert 150 <= len(call.text.split()) <= 350


def test_every_label_is_read_back_as_it_was_written(calls, messages):
    for read, examples in ((HELPLINE, calls), (CUSTOMER, messages)):
        for example in examples:
            assert answers.read(read, example.labels, text=example.text) == (example.labels, [])
            assert set(example.labels) in (set(read.by_key), set())


def test_spans_hold_exactly_what_their_label_says(calls):
    patterns = {
        "AGE": r"\d+ years( old)?",
        "PHONE_NUMBER": r"0700 000 \d{3}",
        "GENDER": r"boy|girl|woman|son|daughter",
        "NAME": r"[A-Z][a-z]+",
        "VICTIM": r"[A-Z][a-z]+",
    }
    for call in calls:
        for span in call.labels.get("entities", []):
            held = call.text[span["start"] : span["end"]]
            assert held == held.strip(" .,?")
            assert re.fullmatch(patterns.get(span["label"], ".+"), held), (span, held)


def test_every_mention_of_a_name_place_or_word_for_the_victim_is_marked(calls):
    for call in calls:
        spans = call.labels.get("entities", [])
        covered = {place for span in spans for place in range(span["start"], span["end"])}
        known = {call.text[s["start"] : s["end"]] for s in spans if s["label"] in {"NAME", "VICTIM", "LOCATION"}}
        if spans:
            for word in known | {"boy", "girl", "son", "daughter"}:
                for found in re.finditer(rf"\b{word}\b", call.text):
                    assert found.start() in covered, (call.id, word)


def test_what_an_agent_says_is_what_the_rubric_says(calls):
    pools = [parts.pool("train")["agent"], parts.pool("test")["agent"]]
    for call in (call for call in calls if call.labels):
        for group, marks in call.labels["call_quality"].items():
            for key, mark in marks.items():
                lines = {
                    answer: [text for pool in pools for text in pool[group][key].get(answer, [])] for answer in ANSWERS
                }
                met, missed = lines["yes"] + lines["calm"], lines["no"]
                right, wrong = {True: (met, missed), False: (missed, met), None: ([], met + missed)}[mark]
                assert says(call, right) or not right, (call.id, group, key)
                assert not says(call, [line for line in wrong if len(line) > 25]), (call.id, group, key)


ANSWERS = ("yes", "calm", "no")


def says(call, lines):
    """Say whether a call holds one of the lines, with any word in place of a slot."""
    return any(re.search(re.sub(r"\\{\w+\\}", ".+?", re.escape(line)), call.text) for line in lines)


def test_held_out_calls_share_no_sentence_with_those_trained_on(calls):
    train, test = split(calls)
    known = set().union(*map(masked_sentences, train))
    assert set().union(*map(masked_sentences, test)) & known == set()


def test_the_two_pools_share_no_part_at_all():
    train, test = parts.pool("train"), parts.pool("test")
    assert set(texts_of(train)) & set(texts_of(test)) == {""}


def test_parts_name_the_victim_through_slots_only():
    for name in ("train", "test"):
        pool = parts.pool(name)
        for text in texts_of({key: pool[key] for key in ("agent", "stories", "voices")}):
            assert not re.search(r"\b(boy|girl|son|daughter)\b", text), text


@pytest.mark.parametrize("name", ["train", "test"])
def test_every_kind_of_call_is_told_once_beside_those_of_its_main_category(name):
    told = []
    for file in (parts.FOLDER / name / "stories").iterdir():
        subs = list(tomllib.loads(file.read_text(encoding="utf-8")))
        assert len({HELPLINE.head("sub_category").by_key[sub].parent for sub in subs}) == 1, file.name
        told += subs
    assert sorted(told) == sorted(parts.topics())


def labelled(examples):
    return [example for example in examples if example.labels]


def test_new_calls_are_unlabelled_and_come_last(calls):
    assert labelled(calls) == calls[:580]
    assert len(calls) == 700


def test_messages_come_in_conversations_in_the_order_of_time(messages):
    talks = {}
    for message in messages:
        talks.setdefault(message.conversation, []).append(message)
    for talk in talks.values():
        assert 3 <= len(talk) <= 6
        assert [row.sent_at for row in talk] == sorted(row.sent_at for row in talk)
        assert len({is_test(row) for row in talk if row.labels}) <= 1
    assert len(labelled(messages)) >= 600
    assert len(messages) - len(labelled(messages)) >= 60
    _, test = split(messages)
    assert 120 <= len(test) <= 125
    assert {tag for row in test for tag in row.labels["tags"]} == set(CUSTOMER.head("tags").keys)


def test_every_case_says_that_it_is_synthetic(calls, messages):
    assert all(row.metadata["synthetic"] is True for row in calls + messages)


def test_every_case_is_of_the_source_that_pages_know(calls, messages):
    assert {row.source for row in calls + messages} == {demo.SOURCE}


def test_the_command_writes_both_files_as_they_are_read(tmp_path, calls):
    command = [sys.executable, "-m", "webapp.demo", "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    lines = (tmp_path / "helpline_demo.jsonl").read_text(encoding="utf-8").splitlines()
    first = json.loads(lines[0])
    assert len(lines) == len(calls)
    assert (first["id"], first["text"], first["labels"]) == (calls[0].id, calls[0].text, calls[0].labels)
    assert "labels" not in json.loads(lines[-1])
    assert (tmp_path / "customer_demo.jsonl").exists()


@pytest.mark.parametrize(
    ("person", "text"),
    [
        ("first", "I have lost my shoes and I am afraid."),
        ("second", "You have lost your shoes and you are afraid."),
        ("f", "She has lost her shoes and she is afraid."),
        ("m", "He has lost his shoes and he is afraid."),
    ],
)
def test_one_part_is_told_by_every_person(person, text):
    part = "{He} {has} lost {his} shoes and {he} {is} afraid."
    assert fill(part, words_for(person)) == text


def test_marks_become_spans_also_inside_one_another():
    transcript = Transcript("So ")
    transcript.write("[hit by [his uncle](PERPETRATOR)](INCIDENT_TYPE) again")
    assert transcript.text == "So hit by his uncle again"
    assert transcript.sorted_spans() == [
        {"start": 3, "end": 19, "label": "INCIDENT_TYPE"},
        {"start": 10, "end": 19, "label": "PERPETRATOR"},
    ]


def test_a_mark_that_is_not_closed_is_an_error():
    with pytest.raises(ValueError, match=re.escape("a mark is not closed in '[open'")):
        Transcript().write("[open")


def test_a_slot_without_a_word_is_an_error():
    with pytest.raises(KeyError, match="colour"):
        fill("{colour}", words_for("f"))


def test_two_people_who_are_nobody_answer_some_calls_and_differ_now_and_then(calls):
    found = list(second.answers())
    assert found == list(second.answers())
    assert len({call.id for call, _ in found}) == second.CASES
    known = {call.id: call for call in calls}
    differ = Counter()
    for call, (one, other) in found:
        assert not is_test(call)
        assert (one.by, other.by) == second.NAMES
        assert one.labels == known[call.id].labels
        assert answers.read(HELPLINE, other.labels, text=call.text) == (other.labels, [])
        differ.update(head for head in one.labels if one.labels[head] != other.labels[head])
    assert all("synthetic" in name for name in second.NAMES)
    assert set(second.SHARES) == set(differ), "a main category has no second one that is likely"
    assert all(0 < differ[head] < second.CASES / 2 for head in second.SHARES)


def test_the_pages_of_agreement_have_something_to_show(helpline, tmp_path, signed_in):
    path = generate.write(tmp_path)[0]
    row = imports.open_import(helpline, path, name=path.name, mapping={}, source=demo.SOURCE, by=None)
    imports.apply(row, path)
    heard = {(call.source, call.id): said for call, said in second.answers()}
    assert imported_answers.add(helpline, heard) == second.CASES
    assert imported_answers.add(helpline, heard) == 0, "a second start adds nothing"
    page = signed_in(Role.SUPERVISOR).get("/agreement/?schema=helpline").content.decode()
    assert "Annotator 1 (synthetic), Annotator 2 (synthetic)" in page
    disputed = Flag.objects.filter(kind="disagreement", resolved_at=None, case__state="review")
    assert 5 <= disputed.values("case").distinct().count() < second.CASES
