"""Texts that go to a real Label Studio with surrogates, and what annotators do with them there."""

from __future__ import annotations

from typing import Any

import pytest

from annotate import payloads
from ml.types import HeadPrediction, Labels
from tests.conftest import case_named, change_policy, helpline_prediction, predict, trained_version
from tests.label_studio.conftest import (
    HELPLINE,
    NEGLECT,
    labels_of,
    make_due,
    project_number,
    submit,
    task_of,
    tasks_there,
    use,
)
from tests.label_studio.test_doctor import doctor
from webapp.actions import label_studio as sync
from webapp.models import Annotation, Cover, LabelStudioTask

pytestmark = pytest.mark.label_studio

TEXT = "Wanjiru is twelve and lives in Kisumu. WANJIRU can be called on 0712 345 678."
SENT = "Person A is twelve and lives in Town B. Person A can be called on Phone 1."
HIDDEN = ["NAME", "LOCATION"]
WANJIRU = {"start": 0, "end": 7, "label": "NAME"}
KISUMU = {"start": 31, "end": 37, "label": "LOCATION"}
TWELVE = {"start": 11, "end": 17, "label": "AGE"}


def said(*spans: Any) -> dict[str, Any]:
    return helpline_prediction(sure=0.5) | {"entities": HeadPrediction([*spans], None)}


@pytest.fixture
def covered(helpline_at, flagged) -> Any:
    """A case that went out with surrogates."""
    change_policy(helpline_at, hidden_labels=HIDDEN)
    case = flagged("1", text=TEXT, prediction=said(WANJIRU, TWELVE, KISUMU))
    sync.deliver()
    return case


def spans_there(browser: Any) -> list[str]:
    """What the spans of the predictions there cover, in the words that were sent."""
    held = browser.get("/api/predictions/", params={"project": project_number()}).json()
    texts = {task["id"]: task["data"]["text"] for task in tasks_there(browser)}
    found = []
    for one in held:
        labels, problems = payloads.labels_of(HELPLINE, one["result"], texts[one["task"]])
        assert problems == []
        found += [texts[one["task"]][span["start"] : span["end"]] for span in labels["entities"]]
    return found


def answer(browser: Any, case: Any, *spans: dict[str, Any]) -> Annotation:
    labels: Labels = NEGLECT | {"entities": list(spans)}
    submit(browser, case, labels)
    sync.poll_all()
    return Annotation.objects.latest("pk")


def test_names_places_and_numbers_stay_here_and_surrogates_go_out(covered, browser) -> None:
    (task,) = tasks_there(browser)
    assert task["data"] == {"case_id": str(covered.pk), "text": SENT, "cover": Cover.objects.get().pk}
    assert spans_there(browser) == ["Person A", "twelve", "Town B"]


def test_what_was_left_comes_back_as_predicted_and_a_part_of_a_surrogate_as_the_whole(covered, browser) -> None:
    left = [{"start": 0, "end": 8, "label": "NAME"}, {"start": 12, "end": 18, "label": "AGE"}]
    cut = {"start": 45, "end": 48, "label": "NAME"}  # "n A" of the second "Person A"
    found = answer(browser, covered, *left, cut)
    assert found.problems == []
    assert found.answers["entities"] == [WANJIRU, TWELVE, {"start": 39, "end": 46, "label": "NAME"}]
    assert labels_of(covered)["entities"] == found.answers["entities"]
    assert found.changed_heads == ["entities"]


def test_what_was_sent_stays_valid_when_the_model_and_the_policy_change(covered, helpline_at, browser) -> None:
    use(trained_version(helpline_at, 2))
    lives = {"start": 22, "end": 27, "label": "NAME"}
    predict(trained_version(helpline_at, 3), "1", said(TWELVE, lives))
    change_policy(helpline_at, hidden_labels=["AGE"])
    make_due()
    sync.deliver()
    (task,) = tasks_there(browser)
    assert task["data"]["text"] == SENT
    found = answer(browser, covered, {"start": 32, "end": 38, "label": "LOCATION"})
    assert (found.problems, found.answers["entities"]) == ([], [KISUMU])


def test_a_new_version_fills_in_what_it_says_on_the_text_that_is_there(covered, helpline_at, browser) -> None:
    version = use(trained_version(helpline_at, 2))
    predict(version, "1", said(KISUMU, {"start": 22, "end": 27, "label": "NAME"}))
    make_due()
    sync.deliver()
    assert spans_there(browser) == ["lives", "Town B"]


def test_a_text_that_was_changed_there_gives_no_spans(covered, browser) -> None:
    (task,) = tasks_there(browser)
    changed = {"data": task["data"] | {"text": f"Oh, {SENT}"}}
    browser.patch(f"/api/tasks/{task['id']}/", json=changed).raise_for_status()
    found = answer(browser, covered, {"start": 4, "end": 12, "label": "NAME"})
    assert "entities" not in found.answers
    assert [problem["message"] if isinstance(problem, dict) else problem for problem in found.problems] == [
        "entities has spans of a text that is not the one sent"
    ]


def test_a_project_that_is_made_anew_has_surrogates_and_the_same_answers(covered, browser) -> None:
    before = answer(browser, covered, {"start": 0, "end": 8, "label": "NAME"})
    browser.delete(f"/api/projects/{project_number()}/").raise_for_status()
    assert doctor("--repair")["problems"] == []
    (task,) = tasks_there(browser)
    assert (task["data"]["text"], task["id"]) == (SENT, LabelStudioTask.objects.get().task)
    detail = browser.get(f"/api/tasks/{task_of(covered)}/").json()
    labels, problems = payloads.labels_of(HELPLINE, detail["annotations"][0]["result"], SENT)
    assert (problems, labels["entities"]) == ([], [{"start": 0, "end": 8, "label": "NAME"}])
    sync.poll_all()
    assert list(Annotation.objects.all()) == [before]


def test_without_hidden_labels_the_text_goes_out_as_it_is(flagged, browser) -> None:
    case = flagged("1", text=TEXT, prediction=said(WANJIRU))
    sync.deliver()
    assert tasks_there(browser)[0]["data"] == {"case_id": str(case.pk), "text": TEXT}
    assert not Cover.objects.exists()
    assert case_named("1") == case
