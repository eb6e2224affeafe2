"""Showing the routing policy and putting another in force, from the command line."""

from __future__ import annotations

import json

import pytest
from django.core.management import CommandError

from tests.test_commands import run
from webapp.actions import promotions
from webapp.models import ModelVersion
from webapp.queries import schemas
from webapp.roles import Role


def test_what_is_printed_can_be_changed_and_set(helpline, tmp_path) -> None:
    values = json.loads("\n".join(run("set_policy", "helpline")[0]))
    assert values == schemas.policy(helpline).parsed.as_json()
    values["thresholds"]["priority"] = 0.9
    values |= {"overlap_share": 0.2, "overlap_annotators": 3, "disagreement_limits": {"entities": 0.4}}
    values |= {"hidden_labels": ["NAME", "VICTIM"], "hide_from_reviewers": True, "phone_region": "TZ"}
    values["gate"] = {"least_cases": 30, "slices": [{"name": "capital", "where": {"county": ["Nairobi"]}}]}
    (tmp_path / "policy.json").write_text(json.dumps(values))
    out, _ = run("set_policy", "helpline", tmp_path / "policy.json", "--reason", "fewer mistakes")
    row = schemas.policy(helpline)
    assert (row.parsed.as_json(), row.reason) == (values, "fewer mistakes")
    assert out == [
        f"Policy {row.pk} of Child helpline calls is in force.",
        "What label definitions misses of names stays readable; how much that is was not measured.",
    ]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "the policy is []; expected an object"),
        ('{"treshold": 1}', "treshold is not a value of a policy; expected thresholds, urgent_threshold"),
        ('{"thresholds": {}}', "thresholds is empty; expected at least one head"),
        ('{"thresholds": 0.7}', "thresholds is 0.7; expected an object of head and number"),
        ('{"thresholds": {"colour": 0.7}}', "thresholds.colour is not a head of helpline; expected one of main_cat"),
        ('{"thresholds": {"priority": 70}}', "thresholds.priority is 70; expected a number from 0 to 1"),
        ('{"audit_share": "some"}', "audit_share is 'some'; expected a number from 0 to 1"),
        ('{"audit_share": true}', "audit_share is True; expected a number from 0 to 1"),
        ('{"doubling_hours": 0}', "doubling_hours is 0; expected a number of at least 0.01"),
        ('{"overlap_share": 2}', "overlap_share is 2; expected a number from 0 to 1"),
        ('{"overlap_annotators": 1}', "overlap_annotators is 1; expected a whole number from 2 to 9"),
        ('{"overlap_annotators": 2.5}', "overlap_annotators is 2.5; expected a whole number from 2 to 9"),
        ('{"disagreement_limits": {"colour": 0.1}}', "disagreement_limits.colour is not a head of helpline"),
        ('{"gate": {"least_cases": 0}}', "gate.least_cases is 0; expected a whole number of at least 1"),
        ('{"hidden_labels": "NAME"}', "hidden_labels is 'NAME'; expected a list of labels of entities"),
        ('{"hidden_labels": ["VANE"]}', "hidden_labels holds 'VANE'; expected labels of entities: NAME, LOCATION"),
        ('{"hide_from_reviewers": 1}', "hide_from_reviewers is 1; expected true or false"),
        ('{"phone_region": "Kenya"}', "phone_region is 'Kenya'; expected a country as \"KE\""),
        ('{"reveal_minutes": 0}', "reveal_minutes is 0; expected a number from 1 to 720"),
        ('{"missed_urgent_cost": NaN}', "missed_urgent_cost is nan; expected a number of at least 0"),
    ],
)
def test_what_is_no_policy_is_refused_in_words(helpline, tmp_path, written, message) -> None:
    (tmp_path / "policy.json").write_text(written)
    before = schemas.policy(helpline)
    with pytest.raises(CommandError) as refusal:
        run("set_policy", "helpline", tmp_path / "policy.json")
    assert message in str(refusal.value)
    assert schemas.policy(helpline) == before


def test_no_more_annotators_are_wanted_of_a_case_than_there_are(helpline, person, settings, tmp_path) -> None:
    settings.LABEL_STUDIO_IS_EMBEDDED = True
    for name in ("amina", "otieno"):
        person(Role.ANNOTATOR, name)
    (tmp_path / "policy.json").write_text('{"overlap_share": 0.2, "overlap_annotators": 3}')
    with pytest.raises(CommandError, match="overlap_annotators is 3; expected at most 2, for there are no more active"):
        run("set_policy", "helpline", tmp_path / "policy.json")
    person(Role.ANNOTATOR, "wafula")
    run("set_policy", "helpline", tmp_path / "policy.json")
    assert schemas.policy(helpline).parsed.overlap_annotators == 3


def test_a_file_or_schema_that_is_not_there_is_refused(helpline, tmp_path) -> None:
    with pytest.raises(CommandError, match="schema is 'weather'; expected one of "):
        run("set_policy", "weather")
    with pytest.raises(CommandError, match="cannot be read: No such file"):
        run("set_policy", "helpline", tmp_path / "none.json")


def test_who_hides_names_is_told_how_many_the_version_in_use_misses(helpline, tmp_path, signed_in) -> None:
    share = {"n": 200, "missed": 20, "share": 0.1, "interval": [0.066, 0.149]}
    version = ModelVersion.objects.create(
        schema=helpline,
        schema_version=helpline.versions.get(),
        kind="trained",
        number=1,
        manifest={"surrogates": {"texts": 90, "left": 0, "missed": {"NAME": share | {"whole": share}}}},
    )
    promotions.promote(version, by=None, reason="a test needs it")
    (tmp_path / "policy.json").write_text('{"hidden_labels": ["NAME"]}')
    out, _ = run("set_policy", "helpline", tmp_path / "policy.json")
    assert out[1] == "What version 1 misses stays readable: Name 0.100 (0.07 to 0.15, n 200)."
    page = signed_in(Role.SUPERVISOR).get("/policy/helpline/").content.decode()
    assert "What the version in use misses of what people marked" in page
    assert '<li>Name: <b>0.100</b> <span class="quiet">(0.07 to 0.15, n 200)' in page


def test_the_page_of_a_version_shows_what_surrogates_leave_readable(helpline, signed_in) -> None:
    share = {"n": 200, "missed": 20, "share": 0.1, "interval": [0.066, 0.149]}
    nothing = {"n": 0, "missed": 0, "share": None, "interval": None}
    missed = {"NAME": share | {"whole": nothing}, "LANDMARK": nothing | {"whole": nothing}}
    version = ModelVersion.objects.create(
        schema=helpline,
        schema_version=helpline.versions.get(),
        kind="trained",
        number=1,
        manifest={"surrogates": {"texts": 90, "left": 0, "missed": missed}},
    )
    page = signed_in(Role.SUPERVISOR).get(f"/models/versions/{version.pk}/").content.decode()
    assert "marked in 90 texts that it did not learn from" in page
    assert '<td>Name</td><td class="num">200</td><td class="num"><b>0.100</b>' in page
    assert "Landmark" not in page
