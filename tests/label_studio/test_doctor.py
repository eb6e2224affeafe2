"""The doctor at a real Label Studio: what it finds, and what it repairs."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import httpx
import pytest
from django.core.management import call_command

from annotate.payloads import result_of
from tests.conftest import case_named
from tests.engines import NOBODY_LISTENS
from tests.label_studio.conftest import (
    ABUSE,
    HELPLINE,
    NEGLECT,
    cases_there,
    labels_of,
    make_due,
    project_number,
    somebody_else,
    submit,
    task_of,
    tasks_there,
    waiting,
)
from tests.label_studio.test_away import change_configuration
from webapp.actions import label_studio as sync
from webapp.models import (
    Annotation,
    AuditEvent,
    CaseState,
    LabelStudioProject,
    LabelStudioTask,
    Outbox,
    Restoration,
)

pytestmark = pytest.mark.label_studio


def doctor(*options: str) -> dict[str, Any]:
    """What the command prints; it exits with 1 where something is wrong."""
    out, code = StringIO(), 0
    try:
        call_command("label_studio", "doctor", "--json", *options, stdout=out)
    except SystemExit as exc:
        code = int(str(exc.code))
    report = dict(json.loads(out.getvalue()))
    assert code == bool(report["problems"])
    return report


def annotations_there(browser: httpx.Client) -> list[tuple[str, Any, bool, float | None, int]]:
    """Case, regions, skip, time and person of each annotation that the project holds."""
    return sorted(
        (task["data"]["case_id"], values_of(said), said["was_cancelled"], said["lead_time"], said["completed_by"])
        for task in tasks_there(browser)
        for said in task["annotations"]
    )


def values_of(said: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(region["from_name"], region["value"]) for region in said["result"]]


def empty(browser: httpx.Client) -> None:
    for task in tasks_there(browser):
        browser.delete(f"/api/tasks/{task['id']}/").raise_for_status()


def test_where_all_is_well_the_doctor_says_what_it_looked_at(delivered, browser, label_studio) -> None:
    sync.poll_all()
    report = doctor()
    assert (report["url"], report["answers"], report["key"]) == (label_studio.url, True, "legacy token")
    assert report["version"] == browser.get("/api/version/").json()["release"]
    assert report["outbox"] == {"waiting": 0, "failing": 0, "oldest_seconds": None}
    (project,) = report["projects"]
    assert (project["schema"], project["project"], project["tasks"]) == ("helpline", project_number(), 1)
    assert project["seconds_since_poll"] < 60
    assert (project["difference"], report["repaired"], report["down_since"]) == ([], {}, None)


def test_while_label_studio_is_down_the_doctor_says_since_when_and_what_waits(flagged, delivered, settings) -> None:
    settings.LABEL_STUDIO_URL = NOBODY_LISTENS
    flagged("2")
    sync.poll_all()
    sync.deliver()
    report = doctor("--repair")
    since = LabelStudioProject.objects.get().failing_since
    assert (report["answers"], report["down_since"]) == (False, since.isoformat())
    assert report["problems"] == ["Label Studio cannot be reached (ConnectError)"]
    assert (report["outbox"]["waiting"], report["outbox"]["failing"]) == (1, 1)
    assert report["outbox"]["oldest_seconds"] > 0


def test_a_changed_configuration_is_found_by_the_poll_shown_and_restored(delivered, browser) -> None:
    sync.poll_all()
    assert LabelStudioProject.objects.get().drifted_since is None
    change_configuration(browser)
    sync.poll_all()
    since = LabelStudioProject.objects.get().drifted_since
    sync.poll_all()
    assert LabelStudioProject.objects.get().drifted_since == since is not None
    report = doctor()
    assert report["problems"] == ["helpline: the configuration was changed there; a repair puts it back"]
    changed = [line for line in report["projects"][0]["difference"] if 'alias="2"' in line or 'alias="two"' in line]
    assert [line[0] for line in changed] == ["-", "+"]
    assert doctor("--repair")["repaired"] == {"configurations restored": 1}
    assert LabelStudioProject.objects.get().drifted_since is None
    assert 'alias="two"' not in browser.get(f"/api/projects/{project_number()}/").json()["label_config"]
    assert AuditEvent.objects.get(action="label studio repaired").facts == {"configurations restored": 1}


@pytest.mark.parametrize("is_deleted", [True, False], ids=["deleted", "emptied"])
def test_a_project_that_is_lost_is_rebuilt_with_its_annotations(is_deleted, flagged, browser) -> None:
    first, second, third = (flagged(name) for name in ("1", "2", "3"))
    sync.deliver()
    comment = {"from_name": "~comment", "to_name": "~text", "type": "textarea", "value": {"text": ["Call again."]}}
    submit(browser, first, NEGLECT, lead_time=12.5)
    submit(browser, first, NEGLECT, completed_by=somebody_else(browser), lead_time=30.0)
    answer = browser.post(
        f"/api/tasks/{task_of(second)}/annotations/", json={"result": [comment], "was_cancelled": True}
    )
    answer.raise_for_status()
    sync.poll_all()
    before = annotations_there(browser)
    rows = list(Annotation.objects.order_by("pk").values())
    assert (len(before), len(rows)) == (3, 3)
    lost = project_number()
    if is_deleted:
        browser.delete(f"/api/projects/{lost}/").raise_for_status()
    else:
        empty(browser)
    sync.poll_all()
    row = LabelStudioProject.objects.get()
    assert (row.failure, row.tasks_there) == ((f"project {lost} is gone", 3) if is_deleted else ("", 0))
    assert len(doctor()["problems"]) == 1
    report = doctor("--repair")
    assert (report["repaired"]["tasks made anew"], report["repaired"]["annotations put back"]) == (3, 3)
    assert (project_number() != lost) == is_deleted
    assert cases_there(browser) == ["1", "2", "3"]
    assert annotations_there(browser) == before
    for _ in range(2):
        sync.poll_all()
        LabelStudioProject.objects.update(cursor="")
    assert list(Annotation.objects.order_by("pk").values()) == rows
    assert labels_of(first) == NEGLECT
    assert case_named("1").state == CaseState.DECIDED
    assert doctor("--repair")["repaired"] == {}
    assert (third.state, waiting()) == (CaseState.LABELLING, [])


def test_what_was_put_back_can_be_edited_and_deleted_there_like_anything_else(delivered, browser) -> None:
    submit(browser, delivered, NEGLECT)
    sync.poll_all()
    empty(browser)
    doctor("--repair")
    number = Restoration.objects.get().external_id
    edited = {"result": result_of(HELPLINE, ABUSE)}
    browser.patch(f"/api/annotations/{number}/", json=edited).raise_for_status()
    sync.poll_all()
    old, new = Annotation.objects.order_by("pk")
    assert (new.supersedes, new.answers, labels_of(delivered)) == (old, ABUSE, ABUSE)
    browser.delete(f"/api/annotations/{number}/").raise_for_status()
    sync.poll_all()
    assert (Annotation.objects.count(), labels_of(delivered)) == (3, {})


def test_what_was_put_back_and_deleted_before_any_edit_is_a_deletion(delivered, browser) -> None:
    submit(browser, delivered, NEGLECT)
    sync.poll_all()
    empty(browser)
    doctor("--repair")
    browser.delete(f"/api/annotations/{Restoration.objects.get().external_id}/").raise_for_status()
    sync.poll_all()
    assert [row.is_deletion for row in Annotation.objects.order_by("pk")] == [False, True]
    assert labels_of(delivered) == {}


def test_a_rebuilding_that_died_half_way_is_finished_and_nothing_is_there_twice(
    delivered, browser, monkeypatch
) -> None:
    """It dies once before the annotation is handed in, and once before it could note that it was."""
    submit(browser, delivered, NEGLECT)
    sync.poll_all()
    empty(browser)
    for step in ("webapp.actions.rebuilding.inspection.put_back", "webapp.actions.rebuilding.restorations.note"):
        with monkeypatch.context() as patch:
            patch.setattr(step, _die)
            with pytest.raises(KeyboardInterrupt):
                doctor("--repair")
        LabelStudioProject.objects.update(cursor="")
        sync.poll_all()
        assert Annotation.objects.count() == 1
    doctor("--repair")
    assert len(annotations_there(browser)) == 1
    assert Annotation.objects.count() == 1


def _die(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_cases_without_tasks_tasks_without_cases_and_duplicates(flagged, browser) -> None:
    cases = {name: flagged(name) for name in "12345"}
    sync.deliver()
    project = project_number()
    bodies = [{"data": {"case_id": name, "text": "x"}} for name in ("mine", str(cases["2"].pk))]
    browser.post(f"/api/projects/{project}/import", json=bodies).raise_for_status()
    browser.delete(f"/api/tasks/{task_of(cases['1'])}/").raise_for_status()
    LabelStudioTask.objects.filter(case=cases["3"]).delete()  # Nobody remembers that it was sent
    type(cases["3"]).objects.filter(pk=cases["3"].pk).update(state=CaseState.DECIDED)
    LabelStudioTask.objects.filter(case=cases["4"]).update(task=999_999)
    browser.delete(f"/api/tasks/{task_of(cases['5'])}/").raise_for_status()
    LabelStudioTask.objects.filter(case=cases["5"]).delete()
    found = doctor()["projects"][0]
    mine = next(task["id"] for task in tasks_there(browser) if task["data"]["case_id"] == "mine")
    assert found["foreign"] == {"count": 1, "first": [mine]}
    assert found["missing"] == {"count": 1, "first": [cases["1"].pk]}
    assert found["duplicates"] == {"count": 1, "first": [cases["2"].pk]}
    assert (found["strays"]["count"], found["moved"]) == (1, {"count": 1, "first": [cases["4"].pk]})
    repaired = doctor("--repair")["repaired"]
    assert repaired == {
        "cases sent again": 1,
        "tasks found again": 1,
        "duplicates removed": 1,
        "tasks adopted or removed": 1,
        "tasks made anew": 1,
    }
    assert waiting() == [("5", "push")]
    sync.deliver()
    there = [task["data"]["case_id"] for task in tasks_there(browser)]
    assert sorted(there) == sorted(["mine", *(str(cases[name].pk) for name in "1245")])
    assert task_of(cases["4"]) in [task["id"] for task in tasks_there(browser)]


def test_an_answer_on_a_duplicate_of_a_task_is_not_taken_for_deleted(delivered, browser) -> None:
    body = [{"data": {"case_id": str(delivered.pk), "text": "x"}}]
    browser.post(f"/api/projects/{project_number()}/import", json=body).raise_for_status()
    for task in tasks_there(browser):
        said = {"result": result_of(HELPLINE, NEGLECT)}
        browser.post(f"/api/tasks/{task['id']}/annotations/", json=said).raise_for_status()
    sync.poll_all()
    LabelStudioProject.objects.update(cursor="")
    sync.poll_all()
    assert [row.is_deletion for row in Annotation.objects.all()] == [False, False]
    assert doctor("--repair")["repaired"] == {}  # Somebody answered both, so both stay


def test_what_waited_for_a_deleted_project_is_sent_once_it_is_made_anew(delivered, flagged, browser) -> None:
    browser.delete(f"/api/projects/{project_number()}/").raise_for_status()
    flagged("2")
    sync.deliver()
    assert Outbox.objects.get(sent_at=None).attempts == 1
    doctor("--repair")
    sync.deliver()
    make_due()
    assert (cases_there(browser), waiting()) == (["1", "2"], [])
