"""What goes out to a real Label Studio, and what people are shown there."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from annotate import client, config, payloads
from ml.types import HeadPrediction
from tests.conftest import case_named, change_policy, helpline_prediction, predict, trained_version
from tests.engines import NOBODY_LISTENS
from tests.label_studio.conftest import (
    ABUSE,
    HELPLINE,
    NEGLECT,
    TEXT,
    another_process_holding,
    cases_there,
    labels_of,
    make_due,
    next_case,
    predictions_there,
    project_number,
    submit,
    task_of,
    tasks_there,
    use,
    waiting,
)
from webapp.actions import label_studio as sync
from webapp.models import Case, CaseState, LabelStudioProject, LabelStudioTask, ModelVersion, Outbox

pytestmark = pytest.mark.label_studio


def test_the_project_is_made_from_the_schema(delivered, browser, helpline_at, label_studio) -> None:
    row = LabelStudioProject.objects.get()
    found = browser.get(f"/api/projects/{row.project}/").json()
    assert found["title"] == "Caseloop: Child helpline calls"
    assert found["sampling"] == "Uncertainty sampling"
    assert 'name="priority"' in found["label_config"]
    assert (row.schema, row.schema_version) == (helpline_at, helpline_at.versions.get())
    (hook,) = browser.get("/api/webhooks/", params={"project": row.project}).json()
    assert hook["url"] == row.webhook_url == f"{NOBODY_LISTENS}/webhooks/label-studio/"
    assert hook["headers"] == {"X-Caseloop-Secret": label_studio.webhook_secret}
    assert hook["send_payload"] is False


def test_a_flagged_case_arrives_with_the_answers_of_the_champion_filled_in(delivered, browser) -> None:
    (task,) = tasks_there(browser)
    assert task["data"] == {"case_id": str(delivered.pk), "text": TEXT}
    assert predictions_there(browser) == {"1": [("version 1", NEGLECT)]}
    row = LabelStudioTask.objects.get()
    assert (row.case, row.task, row.withdrawn_at) == (delivered, task["id"], None)
    assert str(row.version) == "version 1"
    assert waiting() == []


def test_only_cases_that_are_with_annotators_arrive(flagged, helpline_at, browser, import_rows) -> None:
    flagged("labelling")
    import_rows(helpline_at, {"id": "sure", "text": "b"}, {"id": "urgent", "text": "c"}, {"id": "new", "text": "d"})
    champion = ModelVersion.objects.get(number=1, kind="trained")
    assert predict(champion, "sure", helpline_prediction(sure=0.9)).state == CaseState.ACCEPTED
    assert predict(champion, "urgent", helpline_prediction(urgent=0.5)).state == CaseState.REVIEW
    sync.deliver()
    assert cases_there(browser) == ["labelling"]


def test_what_is_too_much_for_one_turn_goes_by_harm(flagged, browser, monkeypatch) -> None:
    monkeypatch.setattr(sync, "MOST_AT_ONCE", 1)
    flagged("less", sure=0.6)
    flagged("more", sure=0.3)
    sync.deliver()
    assert (cases_there(browser), waiting()) == (["more"], [("less", "push")])
    sync.deliver()
    assert (cases_there(browser), waiting()) == (["less", "more"], [])


def test_a_case_that_was_decided_before_it_was_sent_is_not_sent(flagged, browser) -> None:
    flagged("1")
    Case.objects.update(state=CaseState.DECIDED)
    sync.deliver()
    assert (cases_there(browser), waiting()) == ([], [])


def test_people_are_served_the_case_of_most_harm_first(flagged, helpline_at, browser) -> None:
    flagged("some", sure=0.55)
    flagged("most", sure=0.25)
    flagged("least", sure=0.65)
    change_policy(helpline_at, audit_share=1.0)
    flagged("audited", sure=0.45)
    sync.deliver()
    served = []
    while (external_id := next_case(browser)) is not None:
        served.append(external_id)
        submit(browser, case_named(external_id), NEGLECT)
    assert served == ["most", "audited", "some", "least"]


def test_an_audited_case_is_asked_blind(flagged, helpline_at, browser) -> None:
    change_policy(helpline_at, audit_share=1.0)
    assert flagged("audited").is_audit
    change_policy(helpline_at, audit_share=0.0)
    flagged("other")
    sync.deliver()
    assert predictions_there(browser) == {"audited": [("version 1", {})], "other": [("version 1", NEGLECT)]}


def test_an_audited_case_stays_blind_when_another_version_answers(flagged, helpline_at, browser) -> None:
    change_policy(helpline_at, audit_share=1.0)
    flagged("audited")
    sync.deliver()
    predict(use(trained_version(helpline_at, 2)), "audited", helpline_prediction(sure=0.5))
    make_due()
    sync.deliver()
    assert predictions_there(browser) == {"audited": [("version 2", {})]}


def test_a_case_is_sent_once_however_often_the_outbox_is_emptied(delivered, browser) -> None:
    before = LabelStudioTask.objects.get().task
    sync.deliver()
    assert cases_there(browser) == ["1"]
    Outbox.objects.update(sent_at=None)  # As if the process had died before it could say so
    LabelStudioTask.objects.all().delete()
    sync.deliver()
    assert cases_there(browser) == ["1"]
    assert (LabelStudioTask.objects.get().task, waiting()) == (before, [])


def test_the_project_is_found_again_when_its_row_was_lost(delivered, browser, flagged) -> None:
    before = project_number()
    LabelStudioProject.objects.all().delete()
    flagged("2")
    sync.deliver()
    assert project_number() == before
    assert cases_there(browser) == ["1", "2"]


def test_nothing_is_sent_while_another_process_speaks_to_the_project(flagged, helpline_at, browser) -> None:
    flagged("1")
    with another_process_holding(helpline_at):
        sync.deliver()
        assert list(LabelStudioProject.objects.all()) == []
        assert waiting() == [("1", "push")]
    sync.deliver()
    assert (cases_there(browser), waiting()) == (["1"], [])


def test_a_case_that_left_labelling_is_taken_back(delivered, helpline_at, browser, flagged) -> None:
    flagged("2")
    sync.deliver()
    predict(trained_version(helpline_at, 2), "1", helpline_prediction(sure=0.9))
    assert waiting() == [("1", "withdraw")]
    sync.deliver()
    assert (cases_there(browser), waiting()) == (["2"], [])
    assert LabelStudioTask.objects.get(case=delivered).withdrawn_at <= timezone.now()
    assert LabelStudioTask.objects.get(case__external_id="2").withdrawn_at is None


def test_a_case_that_somebody_has_begun_is_kept(delivered, helpline_at, browser) -> None:
    draft = {"result": payloads.result_of(HELPLINE, {"priority": "1"}), "lead_time": 1}
    browser.post(f"/api/tasks/{task_of(delivered)}/drafts", json=draft).raise_for_status()
    predict(trained_version(helpline_at, 2), "1", helpline_prediction(sure=0.9))
    sync.deliver()
    assert (cases_there(browser), waiting()) == (["1"], [])
    assert LabelStudioTask.objects.get().withdrawn_at is None


def test_a_case_that_was_taken_back_and_is_wanted_again_gets_one_new_task(delivered, helpline_at, browser) -> None:
    predict(trained_version(helpline_at, 2), "1", helpline_prediction(sure=0.9))
    sync.deliver()
    assert cases_there(browser) == []
    predict(use(trained_version(helpline_at, 3)), "1", helpline_prediction(sure=0.4))
    sync.deliver()
    assert cases_there(browser) == ["1"]
    row = LabelStudioTask.objects.get()
    assert (row.task, row.withdrawn_at, str(row.version)) == (tasks_there(browser)[0]["id"], None, "version 3")


def test_a_case_that_is_decided_while_it_is_sent_is_taken_back(flagged, browser, monkeypatch) -> None:
    case = flagged("1")
    push = client.Client.push

    def decided_meanwhile(*args: Any) -> Any:
        Case.objects.filter(pk=case.pk).update(state=CaseState.DECIDED)
        return push(*args)

    monkeypatch.setattr(client.Client, "push", decided_meanwhile)
    sync.deliver()
    assert (cases_there(browser), waiting()) == (["1"], [("1", "withdraw")])
    sync.deliver()
    assert (cases_there(browser), waiting()) == ([], [])


def test_the_answers_of_a_new_champion_take_the_place_of_the_old_ones(delivered, flagged, helpline_at, browser) -> None:
    flagged("2")
    sync.deliver()
    champion = use(trained_version(helpline_at, 2))
    for external_id in ("1", "2"):
        predict(champion, external_id, helpline_prediction("VANE", "Physical Abuse", sure=0.5))
    assert waiting() == [("1", "refresh"), ("2", "refresh")]
    make_due()
    sync.deliver()
    assert predictions_there(browser) == {"1": [("version 2", ABUSE)], "2": [("version 2", ABUSE)]}
    assert browser.get(f"/api/projects/{project_number()}/").json()["model_version"] == "version 2"
    assert LabelStudioProject.objects.get().version == champion
    assert {row.version for row in LabelStudioTask.objects.all()} == {champion}
    Outbox.objects.update(sent_at=None)
    sync.deliver()
    assert predictions_there(browser) == {"1": [("version 2", ABUSE)], "2": [("version 2", ABUSE)]}


def test_the_order_follows_the_new_champion(flagged, helpline_at, browser) -> None:
    for external_id, sure in (("a", 0.3), ("b", 0.4), ("c", 0.5)):
        flagged(external_id, sure=sure)
    sync.deliver()
    champion = use(trained_version(helpline_at, 2))
    for external_id, sure in (("a", 0.6), ("b", 0.5), ("c", 0.4)):
        predict(champion, external_id, helpline_prediction(sure=sure))
    make_due()
    sync.deliver()
    assert next_case(browser) == "c"


def test_a_case_that_the_champion_answers_after_its_promotion_reached_label_studio_is_refreshed(
    delivered, flagged, helpline_at, browser
) -> None:
    champion = use(trained_version(helpline_at, 2))
    flagged("2", prediction=helpline_prediction("VANE", "Physical Abuse", sure=0.5))
    sync.deliver()  # The first case still has the answers of the version before
    assert predictions_there(browser) == {"1": [("version 2", NEGLECT)], "2": [("version 2", ABUSE)]}
    predict(champion, "1", helpline_prediction("VANE", "Physical Abuse", sure=0.5))
    assert waiting() == [("1", "refresh")]
    make_due()
    sync.deliver()
    assert predictions_there(browser) == {"1": [("version 2", ABUSE)], "2": [("version 2", ABUSE)]}


def test_that_no_label_fits_is_ticked_beforehand_and_gives_way_to_what_people_tick_beside_it(flagged, browser) -> None:
    prediction = {**helpline_prediction(sure=0.5), "intervention": HeadPrediction([], 0.4)}
    kept, changed = flagged("kept", prediction=prediction), flagged("changed", prediction=prediction)
    sync.deliver()
    assert predictions_there(browser)["kept"] == [("version 1", {**NEGLECT, "intervention": []})]
    submit(browser, kept, {**NEGLECT, "intervention": []})
    regions = payloads.result_of(HELPLINE, {**NEGLECT, "intervention": ["Referral"]})
    for region in regions:
        if region["from_name"] == "intervention":
            region["value"]["choices"].append(config.NONE)
    answer = browser.post(f"/api/tasks/{task_of(changed)}/annotations/", json={"result": regions})
    assert answer.status_code == 201
    sync.poll_all()
    assert [labels_of(case)["intervention"] for case in (kept, changed)] == [[], ["Referral"]]
    assert {annotation.changed_heads[0] for annotation in changed.annotations.all()} == {"intervention"}
    assert Case.objects.filter(state=CaseState.DECIDED).count() == 2
