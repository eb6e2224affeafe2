"""One case walks all the way round, every part real: engines, workers, model, Label Studio, browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.conftest import write_calls
from tests.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.label_studio]

LABELLED, UNLABELLED = 160, 30
MARKER = "my goat ate the purple umbrella"  # Said in one case, and to be found nowhere but in the database


def test_a_case_walks_all_the_way_round_the_loop(
    stack: Stack, browser: Browser, tmp_path: Path, screenshots: Path
) -> None:
    passwords = {
        role: stack.manage("add_person", role, "--role", role, "--email", f"{role}@example.org").split()[1]
        for role in ("supervisor", "annotator", "admin")
    }
    pages = {role: _sign_in(browser, stack, role, password) for role, password in passwords.items()}

    _import(stack, pages["admin"], tmp_path, screenshots)
    _prelabelled_without_any_training(stack)
    _train_and_promote(stack, pages["admin"], screenshots, number=1)
    _cases_are_routed_with_a_reason(stack)
    labelled = _label_two_cases(stack, pages["annotator"], screenshots)
    _answer_audits_blind(stack, pages["supervisor"], screenshots)
    corrected = _review_and_correct(stack, pages["supervisor"], screenshots)
    _train_and_promote(stack, pages["admin"], screenshots, number=2)
    _the_new_version_learnt_from_them(stack, [*labelled, corrected])
    _no_text_is_where_it_does_not_belong(stack)


def _sign_in(browser: Browser, stack: Stack, name: str, password: str) -> Page:
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.goto(stack.url)
    page.fill("#id_username", name)
    page.fill("#id_password", password)
    page.click("button:has-text('Sign in')")
    expect(page.locator(".person")).to_contain_text(name)
    return page


def _import(stack: Stack, page: Page, tmp_path: Path, screenshots: Path) -> None:
    """An admin uploads labelled and unlabelled cases, sees the preview, and imports them."""
    stack.manage("register_schemas")
    stack.rows("update webapp_schema set audit_salt = 'one draw' returning id")  # The same cases are audited each time
    marked = {"id": "marked", "text": f"Agent: Helpline, hello?\nCaller: {MARKER}, and I do not know what to do."}
    file = write_calls(tmp_path, LABELLED, UNLABELLED - 1, marked, {"id": "broken"})
    page.goto(f"{stack.url}/imports/")
    page.set_input_files("#id_file", file)
    page.click("button:has-text('Preview')")
    page.wait_for_selector("text=text is missing; expected the text of the case")
    page.screenshot(path=screenshots / "import-preview.png", full_page=True)
    assert stack.rows("select count(*) as n from webapp_case") == [{"n": 0}]
    page.click(f"button:has-text('Import {LABELLED + UNLABELLED} rows')")
    stack.wait_for("the import", lambda: stack.rows("select 1 from webapp_import where state = 'done'"))
    assert stack.rows("select count(*) as n from webapp_case") == [{"n": LABELLED + UNLABELLED}]
    (report,) = stack.rows("select report from webapp_import")
    assert (report["report"]["new"], report["report"]["refused"]) == (LABELLED + UNLABELLED, 1)


def _prelabelled_without_any_training(stack: Stack) -> None:
    """Until there is a model, every case goes to people, with a guess that claims no confidence."""
    stack.wait_for("predictions", lambda: stack.status()["waiting_for_prediction"] == 0)
    assert stack.rows("select state, count(*) as n from webapp_case where state <> 'decided' group by state") == [
        {"state": "labelling", "n": UNLABELLED + _audited(stack)}
    ]
    assert stack.rows("select distinct confidence from webapp_headscore") == [{"confidence": None}]


def _audited(stack: Stack) -> int:
    """How many labelled cases were drawn for audit, and so wait for a person all the same."""
    query = "select count(distinct case_id) as n from webapp_label join webapp_case c on c.id = case_id where is_audit"
    return int(stack.rows(query)[0]["n"])


def _train_and_promote(stack: Stack, page: Page, screenshots: Path, *, number: int) -> None:
    page.goto(f"{stack.url}/models/")
    page.locator("section", has_text="Child helpline").locator("button:has-text('Train a new version')").click()
    page.wait_for_selector("progress", timeout=120_000)
    page.screenshot(path=screenshots / f"run-{number}.png")
    page.wait_for_selector(f"text=Version {number} is trained", timeout=300_000)
    page.click("text=Compare it with the one in use")
    for head in ("Main category", "Entities", "Call quality"):
        expect(page.locator("tbody").first).to_contain_text(head)
    assert ("in use:" in page.locator("main").inner_text()) == (number > 1), "the first version has nothing beside it"
    page.screenshot(path=screenshots / f"version-{number}.png", full_page=True)
    page.fill("input[name=reason]", "better on the same cases")
    for override in page.locator("input[name=override]").all():  # Two trainings on demo cases differ by chance
        override.check()
    page.click(f"button:has-text('Put version {number} in use')")
    page.wait_for_selector(f"text=Version {number} is in use; open cases are predicted again.")
    assert stack.rows(
        "select v.number from webapp_promotion p join webapp_modelversion v on v.id = p.version_id order by p.id desc"
    )[0] == {"number": number}
    stack.wait_for("predictions", lambda: stack.status()["waiting_for_prediction"] == 0)
    open_cases = """
        select distinct v.number from webapp_case c join webapp_prediction p on p.id = c.current_prediction_id
        join webapp_modelversion v on v.id = p.version_id where c.state in ('accepted', 'labelling', 'review')
    """
    assert stack.rows(open_cases) == [{"number": number}]
    (found,) = stack.rows(
        "select bool_and(p.heads ?& array['entities', 'call_quality']) as all_heads from webapp_case c "
        "join webapp_prediction p on p.id = c.current_prediction_id where c.state in ('labelling', 'review')"
    )
    assert found == {"all_heads": True}


def _cases_are_routed_with_a_reason(stack: Stack) -> None:
    waiting = stack.rows(
        "select c.id, c.state, c.is_audit, array_agg(f.kind) as kinds from webapp_case c "
        "join webapp_flag f on f.case_id = c.id and f.resolved_at is null "
        "where c.state in ('labelling', 'review') group by c.id"
    )
    assert {row["state"] for row in waiting} == {"labelling", "review"}
    for row in waiting:
        assert ("urgent" in row["kinds"]) == (row["state"] == "review"), row
        assert ("audit" in row["kinds"]) == row["is_audit"], row


def _label_two_cases(stack: Stack, page: Page, screenshots: Path) -> list[int]:
    """An annotator is taken into Label Studio, signed in, and submits two pre-filled tasks there."""
    unsent = "select 1 from webapp_outbox where sent_at is null"
    stack.wait_for("the outbox to be empty", lambda: not stack.rows(unsent))
    shown = "select v.number from webapp_labelstudiotask t join webapp_modelversion v on v.id = t.version_id"
    assert {row["number"] for row in stack.rows(f"{shown} where withdrawn_at is null")} == {1}
    (project,) = stack.rows("select project from webapp_labelstudioproject")
    page.goto(f"{stack.url}/label/")
    page.screenshot(path=screenshots / "label.png")
    page.locator("section", has_text="Child helpline").locator("text=Your next case").click()
    page.wait_for_url(re.compile(r"/projects/\d+/data"))
    prefilled = stack.rows(
        "select t.task, c.id, p.heads from webapp_labelstudiotask t join webapp_case c on c.id = t.case_id "
        "join webapp_prediction p on p.id = c.current_prediction_id "
        "where t.withdrawn_at is null and not c.is_audit and c.state = 'labelling' order by c.rank desc limit 2"
    )
    address = page.url.split("/projects/")[0]
    for row in prefilled:
        _submit_task(page, f"{address}/projects/{project['project']}/data?task={row['task']}", row, screenshots)
    stored = stack.wait_for("two annotations", lambda: _annotations(stack, 2))
    assert {row["case_id"] for row in stored} == {row["id"] for row in prefilled}
    assert not any(row["is_skip"] for row in stored)
    for row in stored:
        assert row["state"] == "decided"
        assert row["name"] == "annotator"
        for head in ("priority", "intervention"):
            assert row["answers"][head] == row["heads"][head]["answer"]
        assert row["changed_heads"] == []
    return [row["case_id"] for row in stored]


def _annotations(stack: Stack, number: int) -> list[dict[str, Any]]:
    rows = stack.rows(
        "select a.case_id, a.answers, a.is_skip, a.changed_heads, c.state, n.name, p.heads from webapp_annotation a "
        "join webapp_case c on c.id = a.case_id join webapp_annotator n on n.id = a.annotator_id "
        "join webapp_prediction p on p.id = a.prediction_id where a.origin = 'label_studio'"
    )
    return rows if len(rows) >= number else []


def _submit_task(page: Page, address: str, row: dict[str, Any], screenshots: Path) -> None:
    page.goto(address)
    page.wait_for_selector(".lsf-richtext__line", timeout=60_000)
    submit = page.locator('[data-testid="bottombar-submit-button"]')
    submit.wait_for()
    page.screenshot(path=screenshots / f"label-studio-{row['task']}.png")
    with page.expect_response(lambda r: "/annotations" in r.url and r.request.method == "POST") as answered:
        submit.click()
    assert answered.value.status == 201
    page.wait_for_url(lambda url: f"task={row['task']}" not in url)  # The next case


def _answer_audits_blind(stack: Stack, page: Page, screenshots: Path) -> None:
    """A supervisor answers the audited cases in review, and one that waits for annotators, by the text alone."""
    audits = "select id from webapp_case where is_audit and state = %s order by rank desc, id"
    in_review, in_labelling = (stack.rows(audits, state) for state in ("review", "labelling"))
    cases = [row["id"] for row in [*in_review, *in_labelling[:1]]]
    assert cases
    for case in cases:
        page.goto(f"{stack.url}/cases/{case}/")
        expect(page.locator("main")).to_contain_text("Answer every question from the text alone")
        page.screenshot(path=screenshots / "audit.png", full_page=True)
        assert page.locator("fieldset input:checked, fieldset meter").count() == 0
        for head in ("sub_category", "priority"):
            page.locator(f"#head-{head} input").first.check()
        page.click("button:has-text('Save and next')")
        page.wait_for_selector("text=Intervention has no answer")
        for name in ("intervention.none", "entities.none", "call_quality.rest"):
            page.check(f"input[name='{name}']")
        page.click("button:has-text('Save and next')")
        page.wait_for_selector("text=is decided.")
    answered = "select case_id from webapp_annotation where origin = 'review' and prediction_id is null order by id"
    assert [row["case_id"] for row in stack.rows(answered)] == cases


def _review_and_correct(stack: Stack, page: Page, screenshots: Path) -> int:
    """A supervisor takes the case that matters most, puts its category right, and is given the next one."""
    page.goto(f"{stack.url}/queue/")
    page.screenshot(path=screenshots / "queue.png")
    page.click("button:has-text('Take the next case')")
    page.wait_for_url(re.compile(r"/cases/\d+/"))
    case = int(page.url.rstrip("/").rsplit("/", 1)[1])
    first = "select id from webapp_case where state = 'review' order by rank desc, id limit 1"
    assert stack.rows(first) == [{"id": case}]
    page.screenshot(path=screenshots / "case.png", full_page=True)
    shown = "select heads from webapp_prediction p join webapp_case c on c.current_prediction_id = p.id where c.id = %s"
    (said,) = (row["heads"] for row in stack.rows(shown, case))
    sub = page.locator("#head-sub_category")
    sub.locator("summary").click()
    other = sub.locator("details input[type=radio]").first
    wanted, parent = other.get_attribute("value"), other.get_attribute("data-parent-label")
    other.check()
    page.click("button:has-text('Save and next')")
    page.wait_for_selector("text=is decided.")
    (annotation,) = stack.rows("select * from webapp_annotation where origin = 'review' and case_id = %s", case)
    assert (annotation["answers"]["sub_category"], annotation["answers"]["main_category"]) == (wanted, parent)
    changed = {head for head, answer in annotation["answers"].items() if answer != _as_people_say(said[head]["answer"])}
    assert "sub_category" in changed
    assert set(annotation["changed_heads"]) == changed
    assert stack.rows("select state from webapp_case where id = %s", case) == [{"state": "decided"}]
    assert stack.rows("select answer, rule from webapp_label where case_id = %s and head = 'sub_category'", case) == [
        {"answer": wanted, "rule": "review"}
    ]
    return case


def _as_people_say(answer: Any) -> Any:
    """An answer of a model without how sure it is of each span."""
    if not isinstance(answer, list):
        return answer
    return [{k: v for k, v in one.items() if k != "confidence"} if isinstance(one, dict) else one for one in answer]


def _the_new_version_learnt_from_them(stack: Stack, cases: list[int]) -> None:
    query = """
        select r.case_id from webapp_snapshotrow r join webapp_run run on run.snapshot_id = r.snapshot_id
        join webapp_modelversion v on v.id = run.version_id where v.number = 2 and r.case_id = any(%s)
    """
    assert {row["case_id"] for row in stack.rows(query, cases)} == set(cases)
    compared = stack.rows(
        "select v.number, e.snapshot_id from webapp_evaluation e join webapp_modelversion v on v.id = e.version_id "
        "where e.snapshot_id = (select snapshot_id from webapp_run order by id desc limit 1) order by v.number"
    )
    assert [row["number"] for row in compared] == [1, 2], "both versions were measured on the same cases"


def _no_text_is_where_it_does_not_belong(stack: Stack) -> None:
    """What a caller said is in no log, and has not passed through the broker."""
    assert stack.rows("select case_id from webapp_casetext where text like %s", f"%{MARKER}%"), "it was imported"
    places = [stack.folders.log, stack.folders.run, stack.folders.valkey]
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    assert any(path.suffix == ".aof" for path in files), "what the broker held was looked at"
    assert [path.name for path in files if MARKER.encode() in path.read_bytes()] == []
