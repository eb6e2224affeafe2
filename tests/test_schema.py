"""A schema file is read whole or refused with the place, what was found and what was expected."""

import json
import os
import re
from collections import defaultdict
from pathlib import Path

import pytest

from ml import answers, schema
from ml.schema import Kind, SchemaError

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("DATA", ROOT.parent / "shared" / "data"))

TOP = 'name = "pets"\nversion = 1\ntitle = "Pets"\n'
HEAD = '[[heads]]\nkey = "kind"\nname = "Kind"\nkind = "choice"\n'
CAT = '[[heads.labels]]\nkey = "cat"\nname = "Cat"\ndefinition = "It purrs."\n'
DOG = '[[heads.labels]]\nkey = "dog"\nname = "Dog"\ndefinition = "It barks."\n'
BREED = '[[heads]]\nkey = "breed"\nname = "Breed"\nkind = "choice"\nparent = "kind"\n'
MANX = '[[heads.labels]]\nkey = "manx"\nname = "Manx"\ndefinition = "No tail."\nparent = "cat"\n'
PUG = '[[heads.labels]]\nkey = "pug"\nname = "Pug"\ndefinition = "Flat nose."\nparent = "dog"\n'
TAGS = HEAD.replace('"choice"', '"choices"')
RUBRIC = HEAD.replace('"choice"', '"rubric"')
GROUP = '[[heads.groups]]\nkey = "g"\nname = "G"\n'
CRITERION = '[[heads.groups.criteria]]\nkey = "c"\nname = "C"\ndefinition = "Does it?"\n'
GOOD = TOP + HEAD + CAT + DOG


def rows(name):
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not there; set DATA to the folder that holds it")
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def test_a_small_schema_is_read_whole():
    read = schema.parse(
        GOOD + BREED + MANX + PUG + RUBRIC.replace('"kind"\nname = "Kind"', '"care"\nname = "Care"') + GROUP + CRITERION
    )
    assert (read.name, read.version, read.title, list(read.by_key)) == ("pets", 1, "Pets", ["kind", "breed", "care"])
    assert read.head("kind").keys == ("cat", "dog")
    assert read.head("kind").name_of("cat") == "Cat"
    assert read.head("kind").name_of("newt") == "newt"
    assert [label.key for label in read.head("breed").children("dog")] == ["pug"]
    assert [head.key for head in read.of_kind(Kind.RUBRIC)] == ["care"]
    with pytest.raises(KeyError):
        read.head("colour")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        pytest.param("name = ", "not a TOML file: Invalid value (at end of document)", id="not TOML"),
        pytest.param(TOP, "heads is missing", id="no heads"),
        pytest.param(TOP + "heads = []", "heads is []; expected one or more tables", id="an empty list of heads"),
        pytest.param(GOOD.replace('"pets"', '" "'), "name is ' '; expected a text that is not empty", id="blank name"),
        pytest.param(GOOD.replace("= 1", '= "1"'), "version is '1'; expected a whole number", id="text for a number"),
        pytest.param(GOOD.replace("= 1", "= true"), "version is True; expected a whole number", id="true for a number"),
        pytest.param(GOOD.replace("= 1", "= 0"), "version is 0; expected 1 to 2,147,483,647", id="version 0"),
        pytest.param("colour = 1\n" + GOOD, "colour is not a key that is known here; remove it or mend its spelling",
                     id="unknown key at the top"),
        pytest.param(GOOD + 'alias = "x"\n',
                     "heads[0].labels[1].alias is not a key that is known here; remove it or mend its spelling",
                     id="misspelt key of a label"),
        pytest.param(GOOD.replace('"choice"', '"pick"'),
                     "heads[0].kind is 'pick'; expected one of choice, choices, spans, rubric", id="unknown kind"),
        pytest.param(TOP + HEAD + CAT, "heads[0].labels has 1; a choice needs 2 or more", id="one label"),
        pytest.param(TOP + HEAD + CAT * 2, "heads[0].labels has the key 'cat' twice; keys must differ",
                     id="label twice"),
        pytest.param(GOOD + HEAD + CAT + DOG, "heads has the key 'kind' twice; keys must differ", id="head twice"),
        pytest.param(GOOD + "aliases = [1]\n", "heads[0].labels[1].aliases is [1]; expected a list of texts",
                     id="aliases that are not texts"),
        pytest.param(TOP + TAGS + "threshold = 1.5\n" + CAT,
                     "heads[0].threshold is 1.5; expected a number between 0 and 1", id="threshold above 1"),
        pytest.param(TOP + HEAD + "threshold = 0.5\n" + CAT + DOG,
                     "heads[0].threshold is not a key that is known here; remove it or mend its spelling",
                     id="threshold of a choice"),
        pytest.param(TOP + HEAD + 'ordered = "yes"\n' + CAT + DOG, "heads[0].ordered is 'yes'; expected true or false",
                     id="ordered that is not true or false"),
        pytest.param(TOP + HEAD + 'urgent = "cat"\n' + CAT + DOG,
                     "heads[0].urgent is 'cat'; expected ordered = true beside it", id="urgent without an order"),
        pytest.param(TOP + HEAD + 'ordered = true\nurgent = "cow"\n' + CAT + DOG,
                     "heads[0].urgent is 'cow'; expected one of the ends 'cat' and 'dog'", id="urgent that is no end"),
        pytest.param(TOP + BREED + MANX + PUG + HEAD + CAT + DOG,
                     "heads[0].parent is 'kind'; expected a choice head above it (none there)", id="parent below"),
        pytest.param(GOOD + BREED + MANX + PUG.replace('"dog"', '"cow"'),
                     "heads[1].labels[1].parent is 'cow'; expected a label key of kind: cat, dog", id="unknown parent"),
        pytest.param(GOOD + BREED + MANX + PUG.replace('"dog"', '"cat"'),
                     "heads[1].labels has none whose parent is 'dog'; each label of kind needs one", id="childless"),
        pytest.param(TOP + RUBRIC + GROUP, "heads[0].groups[0].criteria is missing", id="group without criteria"),
        pytest.param(TOP + RUBRIC + GROUP + CRITERION + CRITERION,
                     "heads[0].groups[0].criteria has the key 'c' twice; keys must differ", id="criterion twice"),
        pytest.param(TOP + RUBRIC + GROUP + CRITERION + GROUP.replace('"g"', '"h"') + CRITERION,
                     "heads[0].groups[0] and heads[0].groups[1] are both called 'G'; "
                     "keys, names and aliases must differ in more than case and spaces",
                     id="groups that are namesakes"),
        pytest.param(TOP + RUBRIC + GROUP + CRITERION + CRITERION.replace('"c"', '"d"').replace('"C"', '" c "'),
                     "heads[0].groups[0].criteria[0] and heads[0].groups[0].criteria[1] are both called 'c'; "
                     "keys, names and aliases must differ in more than case and spaces",
                     id="criteria that are namesakes"),
        pytest.param(GOOD + 'aliases = ["Puss", " CAT "]\n',
                     "heads[0].labels[0] and heads[0].labels[1] are both called 'CAT'; "
                     "keys, names and aliases must differ in more than case and spaces", id="namesakes"),
        pytest.param(TOP + HEAD.replace('"Kind"', '"Breed"') + CAT + DOG + BREED + MANX + PUG,
                     "heads[0] and heads[1] are both called 'breed'; "
                     "keys, names and aliases must differ in more than case and spaces", id="heads that are namesakes"),
    ],
)  # fmt: skip
def test_a_bad_schema_is_refused_with_place_found_and_expected(document, message):
    with pytest.raises(SchemaError, match=f"^{re.escape(message)}$"):
        schema.parse(document)


def test_labels_under_different_parents_may_share_a_name():
    read = schema.parse(GOOD + BREED + MANX + 'aliases = ["Other"]\n' + PUG + 'aliases = ["other"]\n')
    assert answers.read(read, {"kind": "dog", "breed": "OTHER"}, text="") == ({"kind": "dog", "breed": "pug"}, [])


def test_criteria_of_different_groups_may_share_a_name():
    other = GROUP.replace('"g"', '"h"').replace('"G"', '"H"')
    read = schema.parse(TOP + RUBRIC + GROUP + CRITERION + other + CRITERION)
    assert [[one.name for one in group.criteria] for group in read.head("kind").groups] == [["C"], ["C"]]


def test_an_unknown_name_lists_the_schemas_that_there_are():
    message = "schema is 'weather'; expected one of customer, helpline, or the path of a .toml file"
    with pytest.raises(SchemaError, match=f"^{re.escape(message)}$"):
        schema.load("weather")


def test_a_file_that_is_absent_or_not_text_is_refused(tmp_path):
    absent, bad = tmp_path / "absent.toml", tmp_path / "bad.toml"
    bad.write_bytes(b"\xff\xfe")
    with pytest.raises(SchemaError, match=f"^schema file {absent} cannot be read: No such file or directory$"):
        schema.load(absent)
    with pytest.raises(SchemaError, match=f"^schema file {bad} is not UTF-8 text$"):
        schema.load(bad)


def test_the_digest_follows_the_document():
    assert schema.parse(GOOD).digest == schema.parse(GOOD).digest
    assert schema.parse(GOOD).digest != schema.parse(GOOD.replace("purrs", "mews")).digest


def test_the_helpline_schema_has_the_heads_that_others_rely_on():
    read = schema.load("helpline")
    assert [(head.key, head.kind.value) for head in read.heads] == [
        ("main_category", "choice"),
        ("sub_category", "choice"),
        ("intervention", "choices"),
        ("priority", "choice"),
        ("entities", "spans"),
        ("call_quality", "rubric"),
    ]
    assert read.head("priority").urgent == "1"
    assert read.head("sub_category").parent == "main_category"
    assert len(read.head("main_category").keys) == 7
    assert len(read.head("entities").keys) == 9
    groups = read.head("call_quality").groups
    assert len(groups) == 6
    assert sum(len(group.criteria) for group in groups) == 17
    assert [label.name for label in read.head("priority").labels] == ["1 Critical", "2 Urgent", "3 Routine"]


def test_the_customer_schema_tags_from_forty_per_cent():
    tags = schema.load("customer").head("tags")
    assert tags.threshold == 0.40
    assert tags.keys == ("First-time-visitor", "Wishlist-user", "Deal-seeker", "Window-shopper", "Hot-buyer")


@pytest.mark.parametrize("name", ["helpline", "customer"])
def test_no_two_labels_of_one_parent_share_a_name_or_alias(name):
    assert schema.shipped() == ["customer", "helpline"]
    for head in schema.load(name).heads:
        meant = defaultdict(set)
        for label in head.labels:
            for text in (label.key, label.name, *label.aliases):
                meant[label.parent, " ".join(text.casefold().split())].add(label.key)
        assert [keys for keys in meant.values() if len(keys) > 1] == []


def test_every_example_of_the_schema_guide_is_read():
    guide = (ROOT / "docs" / "schema.md").read_text(encoding="utf-8")
    examples = re.findall(r"```toml\n(.*?)```", guide, re.DOTALL)
    read = schema.parse(TOP + "".join(examples))
    assert {head.kind for head in read.heads} == set(Kind)


def test_every_published_case_is_read_as_it_is_spelt():
    read = schema.load("helpline")
    for row in rows("helpline_cases.jsonl"):
        raw = {key: row[key] for key in ("main_category", "intervention", "priority")} | {
            "sub_category": row["category"]
        }
        labels, problems = answers.read(read, raw, text=row["narrative"])
        assert problems == []
        expected = row["category"].replace("Student/ Teacher Relationship", "Relationships (Student/Teacher)")
        assert labels["sub_category"] == expected
        assert labels["main_category"] == row["main_category"]
        assert labels["priority"] == row["priority"]


def test_every_published_span_is_read_but_the_one_beyond_its_text():
    read = schema.load("helpline")
    problems = []
    for row in rows("helpline_ner.jsonl"):
        beyond = [span for span in row["entities"] if span["end"] > len(row["text"])]
        labels, found = answers.read(read, {"entities": row["entities"]}, text=row["text"])
        assert bool(found) == bool(beyond)
        assert found or labels["entities"]
        problems += found
    assert len(problems) == 1
