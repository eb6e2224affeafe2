"""The page Policy: showing, changing, trying and putting back."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from tests.conftest import case_named, change_policy, helpline_prediction, predict, submission, trained_version
from webapp.actions import schemas, submissions
from webapp.errors import NotSettable
from webapp.models import AuditEvent, Policy, Schema
from webapp.policyform import PolicyForm
from webapp.queries import policies, trying
from webapp.queries import schemas as in_force
from webapp.roles import Role

PAGE = "/policy/helpline/"


@pytest.fixture
def admin(helpline, signed_in) -> Client:
    return signed_in(Role.ADMIN)


def sent(schema: Schema, **changes: Any) -> dict[str, Any]:
    """What a browser sends of the form as it is shown, but for some changes."""
    shown = {field.name: field.value() for field in PolicyForm(schema)}
    found = {name: value for name, value in shown.items() if value not in (None, "") and value is not False}
    return found | {"gate.slices": "[]", "reason": "as agreed"} | changes


def test_a_change_needs_a_reason_and_is_kept_with_what_differs(helpline, admin) -> None:
    before = in_force.policy(helpline)
    changed = {"thresholds.priority": "0.9", "thresholds.main_category": "", "mistake_cost.priority": "3"}
    refused = admin.post(f"{PAGE}set/", sent(helpline, reason=" ", **changed))
    assert (refused.status_code, in_force.policy(helpline)) == (422, before)
    assert 'value="0.9"' in refused.content.decode(), "what was typed stays"
    page = admin.post(f"{PAGE}set/", sent(helpline, **changed), follow=True).content.decode()
    row = in_force.policy(helpline)
    assert row.values == before.parsed.as_json() | {
        "thresholds": {"sub_category": 0.7, "priority": 0.9},
        "mistake_cost": {"priority": 3.0},
        "gate": row.values["gate"],
    }
    assert (str(row.created_by), row.reason) == ("admin", "as agreed")
    changes = policies.history(helpline)[0].changes
    assert [(change.name, change.before, change.after) for change in changes or ()] == [
        ("thresholds: Priority", "0.7", "0.9"),
        ("thresholds: Main category", "0.7", ""),
        ("mistake cost: Priority", "", "3"),
    ]
    assert "thresholds: Priority: 0.7 → <b>0.9</b>" in page
    event = AuditEvent.objects.get(action="policy set", actor__username="admin")
    assert (event.subject, event.facts) == (f"policy {row.pk}", {"instead_of": before.pk})


def test_values_that_have_no_field_stay_as_they_were(helpline, admin) -> None:
    row = in_force.policy(helpline)
    later = {"thresholds": {**row.values["thresholds"], "dropped_head": 0.5}}
    Policy.objects.create(schema=helpline, values=row.values | later, reason="by an older schema")
    form = PolicyForm(helpline, sent(helpline))
    del form.fields["doubling_hours"]  # As if it had none
    form.row.values["doubling_hours"] = 7.0
    assert form.is_valid(), form.errors
    assert form.policy is not None
    assert (form.policy.doubling_hours, "dropped_head" in form.policy.thresholds) == (7.0, False)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("urgent_threshold", "3", "urgent_threshold is 3.0; expected a number from 0 to 1"),
        ("urgent_threshold", "much", "Enter a number."),
        ("thresholds.priority", "-1", "thresholds.priority is -1.0; expected a number from 0 to 1"),
        ("overlap_annotators", "1", "overlap_annotators is 1; expected a whole number from 2 to 9"),
        ("gate.least_cases", "0", "gate.least_cases is 0; expected a whole number of at least 1"),
        ("gate.slices", '[{"name": ""}]', "gate.slices[0].name is &#x27;&#x27;; expected a text"),
    ],
)
def test_a_fault_stands_beside_the_value_that_it_is_about(helpline, admin, name, value, message) -> None:
    answer = admin.post(f"{PAGE}set/", sent(helpline, **{name: value}))
    assert answer.status_code == 422
    assert list(answer.context["form"].errors) == [name]
    assert message in answer.content.decode()
    none = admin.post(f"{PAGE}set/", sent(helpline) | {f"thresholds.{key}": "" for key in helpline_prediction()})
    assert "thresholds is empty; expected at least one head" in none.content.decode()


def test_nobody_overwrites_what_another_changed_meanwhile(helpline, admin) -> None:
    stale = sent(helpline, urgent_threshold="0.3")
    change_policy(helpline, urgent_threshold=0.2)
    page = admin.post(f"{PAGE}set/", stale, follow=True).content.decode()
    assert "Caseloop changed the policy meanwhile: a test needs it." in page
    assert in_force.policy(helpline).parsed.urgent_threshold == 0.2


def test_an_earlier_policy_is_put_back_as_a_new_row(helpline, admin) -> None:
    earlier = in_force.policy(helpline)
    change_policy(helpline, urgent_threshold=0.5)
    path = f"/policy/earlier/{earlier.pk}/restore/"
    before = in_force.policy(helpline)
    admin.post(path, {"reason": "", "instead_of": before.pk})
    assert in_force.policy(helpline) == before
    admin.post(path, {"reason": "too few were urgent", "instead_of": before.pk})
    row = in_force.policy(helpline)
    assert (row.values, row.reason) == (earlier.values, "too few were urgent")
    assert row.pk not in (earlier.pk, before.pk)
    with pytest.raises(NotSettable, match="changed the policy meanwhile"):
        schemas.restore_policy(earlier, reason="again", by=None, instead_of=before.pk)


def test_supervisors_read_the_policy_and_change_nothing(helpline, signed_in) -> None:
    desk = signed_in(Role.SUPERVISOR)
    page = desk.get("/policy/", follow=True).content.decode()
    assert "<fieldset disabled>" in page
    assert '<button class="primary">Save' not in page
    assert desk.post(f"{PAGE}set/", sent(helpline)).status_code == 403


def test_without_a_schema_the_page_says_so(signed_in) -> None:
    assert "There is no schema yet" in signed_in(Role.SUPERVISOR).get("/policy/").content.decode()


# --- Trying ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def predicted(helpline, import_rows) -> Schema:
    """Three cases: one sure and wrong, one unsure and right, one urgent and not labelled."""
    import_rows(helpline, *({"id": name, "text": f"text {name}"} for name in ("sure", "unsure", "urgent")))
    version = trained_version(helpline)
    predict(version, "sure", helpline_prediction(sure=0.8))
    predict(version, "unsure", helpline_prediction(sure=0.6))
    predict(version, "urgent", helpline_prediction(sure=0.95, urgent=0.2))
    for number, (name, main) in enumerate({"sure": "GBV", "unsure": "VANE"}.items(), 1):
        submissions.record(case_named(name), submission(helpline, "amina", {"main_category": main}, id=number))
    return helpline


def lines(found: tuple[trying.Line, ...]) -> dict[str, tuple[int, int]]:
    return {line.words: (line.before, line.after) for line in found if line.before or line.after}


def test_trying_counts_who_would_see_what_and_which_errors_pass(predicted) -> None:
    before = in_force.policy(predicted).parsed
    after = PolicyForm(predicted, sent(predicted, **{"thresholds.main_category": "0.9", "urgent_threshold": "0.3"}))
    assert after.is_valid(), after.errors
    assert after.policy is not None
    tried = trying.compare(predicted, before, after.policy)
    assert (tried.cases, tried.labelled, tried.is_sample) == (3, 2, False)
    assert lines(tried.went) == {"accepted without a person": (1, 1), "to annotators": (1, 2), "to supervisors": (1, 0)}
    assert lines(tried.reasons) == {
        "low confidence: Main category": (1, 2),
        "low confidence: Sub-category": (1, 1),
        "urgent: Priority": (1, 0),
    }
    assert lines(tried.errors) == {"caught": (0, 1), "let through": (1, 0)}


def test_the_audit_draws_anew_but_catches_no_errors(predicted) -> None:
    before = in_force.policy(predicted).parsed
    form = PolicyForm(predicted, sent(predicted, audit_share="1"))
    assert form.is_valid()
    assert form.policy is not None
    tried = trying.compare(predicted, before, form.policy)
    assert lines(tried.reasons)["audit"] == (0, 3)
    assert lines(tried.errors) == {"let through": (1, 1)}


def test_trying_takes_the_newest_and_says_so(predicted, admin, monkeypatch) -> None:
    monkeypatch.setattr(trying, "MOST", 2)
    before = in_force.policy(predicted)
    page = admin.post(f"{PAGE}try/", sent(predicted, reason="", **{"thresholds.main_category": "0.97"}))
    assert page.status_code == 200
    assert "the newest 2 cases of those predicted" in page.content.decode()
    assert lines(page.context["tried"].went) == {"to annotators": (1, 1), "to supervisors": (1, 1)}
    assert in_force.policy(predicted) == before
    faulty = admin.post(f"{PAGE}try/", sent(predicted, urgent_threshold="2"), headers={"HX-Request": "true"})
    assert faulty.status_code == 200, "or the browser's script would drop the message"
    assert "urgent_threshold is 2.0" in faulty.content.decode()
    assert faulty.context["tried"] is None


def test_before_any_prediction_there_is_nothing_to_say(helpline, admin) -> None:
    assert "No case was predicted since" in admin.post(f"{PAGE}try/", sent(helpline)).content.decode()


def test_names_that_are_hidden_are_chosen_on_the_page(helpline, admin) -> None:
    assert 'value="PHONE_NUMBER"' in admin.get(PAGE).content.decode()
    chosen = {"hidden_labels": ["NAME", "VICTIM"], "hide_from_reviewers": "on", "phone_region": "KE", "train_after": 50}
    admin.post(f"{PAGE}set/", sent(helpline, **chosen))
    found = in_force.policy(helpline).parsed
    assert (found.hidden_labels, found.hide_from_reviewers, found.phone_region) == (["NAME", "VICTIM"], True, "KE")
    assert found.train_after == 50
    refused = admin.post(f"{PAGE}set/", sent(helpline, phone_region="ZZ"))
    assert "phone_region is" in refused.content.decode()
