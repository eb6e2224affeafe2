"""Runs, versions and promotions in the browser."""

from __future__ import annotations

import pytest
from django.test import Client

from tests.conftest import trained_version
from webapp.actions import promotions, runs, snapshots
from webapp.models import Evaluation, ModelVersion, Promotion, Run, RunState, Schema
from webapp.queries import learning, schemas
from webapp.roles import Role

MINE = {"main_category": {"n": 100, "accuracy": 0.61, "macro_f1": 0.5, "majority": 0.3, "ece": 0.04}}
THEIRS = {"main_category": {"n": 100, "accuracy": 0.5, "macro_f1": 0.4, "majority": 0.3, "ece": 0.05}}


@pytest.fixture
def labelled(helpline, import_rows) -> Schema:
    import_rows(helpline, *({"id": str(n), "text": f"text {n}", "priority": "1"} for n in range(20)))
    return helpline


@pytest.fixture
def challenger(labelled) -> ModelVersion:
    """Version 2, measured beside version 1, which is in use."""
    champion, version = trained_version(labelled, 1), trained_version(labelled, 2)
    promotions.promote(champion, by=None, reason="the first")
    snapshot = snapshots.take(labelled.versions.get())
    Evaluation.objects.create(version=champion, snapshot=snapshot, heads=THEIRS)
    Evaluation.objects.create(version=version, snapshot=snapshot, heads=MINE, compared_with=champion)
    return version


@pytest.fixture
def admin(signed_in) -> Client:
    return signed_in(Role.ADMIN)


def test_an_admin_asks_for_a_training_and_sees_it_wait(labelled, admin) -> None:
    answer = admin.post("/models/helpline/retrain/")
    run = Run.objects.get()
    assert (answer["Location"], run.requested_by.username) == (f"/models/runs/{run.pk}/", "admin")
    page = admin.get(answer["Location"]).content.decode()
    assert "Waiting for the training worker." in page
    assert "Cancel" in page


def test_a_second_training_and_one_without_labels_are_refused_with_a_message(labelled, admin) -> None:
    admin.post("/models/helpline/retrain/")
    assert admin.post("/models/helpline/retrain/")["Location"] == "/models/"
    admin.post("/models/customer/retrain/")
    page = admin.get("/models/").content.decode()
    assert "A training of Child helpline calls is under way" in page
    assert "has 0 labelled cases; training needs 20" in page
    assert admin.post("/models/weather/retrain/").status_code == 404
    assert Run.objects.get().schema == labelled


def test_the_progress_of_a_run_is_fetched_until_it_ends(labelled, admin) -> None:
    run = runs.claim(runs.request(labelled).pk)
    runs.beat(run, {"phase": "train", "done": 3, "total": 10, "loss": 0.1234, "metrics": {"priority": 0.5}})
    middle = admin.get(f"/models/runs/{run.pk}/", headers={"HX-Request": "true"}).content.decode()
    assert "Running</b>: train, 3 of 10" in middle
    assert "loss 0.123 · priority 0.500" in middle
    assert "hx-get" in middle
    assert "<html" not in middle
    runs.fail(run, reason="out of memory")
    middle = admin.get(f"/models/runs/{run.pk}/", headers={"HX-Request": "true"}).content.decode()
    assert "▲ out of memory" in middle
    assert "hx-get" not in middle


def test_an_admin_cancels_a_run_once(labelled, admin) -> None:
    run = runs.request(labelled)
    admin.post(f"/models/runs/{run.pk}/cancel/")
    run.refresh_from_db()
    assert run.state == RunState.CANCELLED
    admin.post(f"/models/runs/{run.pk}/cancel/")
    assert "This run has ended already." in admin.get("/models/").content.decode()


def test_two_versions_are_compared_on_the_same_cases(challenger) -> None:
    evaluation, champion, rows = learning.compare(challenger)
    assert (evaluation.version, champion.number) == (challenger, 1)
    (row,) = rows
    assert (row.head, row.metric, row.n, row.challenger, row.champion, row.majority) == (
        "Main category",
        "accuracy",
        100,
        0.61,
        0.5,
        0.3,
    )
    assert row.difference == pytest.approx(0.11)


def test_the_page_of_a_version_says_on_what_it_was_measured(challenger, admin) -> None:
    page = admin.get(f"/models/versions/{challenger.pk}/").content.decode()
    assert "as version 1, which was in use" in page
    assert "a fixed fifth of the imported labels, until 200 blind audits are labelled" in page
    assert "✓ +0.110" in page


def test_a_champion_that_is_measured_again_keeps_the_comparison_that_it_was_promoted_by(
    challenger, labelled, import_rows, admin
) -> None:
    promotions.promote(challenger, by=None, reason="better", report=learning.report(challenger))
    import_rows(labelled, {"id": "more", "text": "more", "priority": "1"})
    later = {"main_category": MINE["main_category"] | {"accuracy": 0.57, "n": 120}}
    snapshot = snapshots.take(labelled.versions.get())
    Evaluation.objects.create(version=challenger, snapshot=snapshot, heads=later)
    evaluation, other, rows = learning.compare(challenger)
    assert (evaluation.heads, other.number, rows[0].champion) == (MINE, 1, 0.5)
    ((again, heads),) = learning.measured_later(challenger)
    assert (again.snapshot, heads[0].challenger, heads[0].n, heads[0].champion) == (snapshot, 0.57, 120, None)
    page = admin.get(f"/models/versions/{challenger.pk}/").content.decode()
    assert "as version 1, which was in use" in page
    assert "✓ +0.110" in page
    assert "<b>0.570</b>" in page.split("Measured again since")[1]


def test_a_version_that_was_measured_once_shows_no_later_measurements(challenger, admin) -> None:
    assert "Measured again" not in admin.get(f"/models/versions/{challenger.pk}/").content.decode()


def test_of_many_later_measurements_the_newest_are_shown(challenger, labelled, import_rows, monkeypatch) -> None:
    monkeypatch.setattr(learning, "SHOWN_LATER", 2)
    for number in range(4):
        import_rows(labelled, {"id": f"more {number}", "text": "more", "priority": "1"})
        snapshot = snapshots.take(labelled.versions.get())
        Evaluation.objects.create(version=challenger, snapshot=snapshot, heads=MINE)
    newest = challenger.evaluations.order_by("-id")[:2]
    assert [found for found, _ in learning.measured_later(challenger)] == list(newest)


def test_a_version_that_was_never_measured_says_so(helpline, admin) -> None:
    version = trained_version(helpline)
    assert "nothing can be said of how good it is" in admin.get(f"/models/versions/{version.pk}/").content.decode()


def test_an_admin_puts_a_version_in_use_and_the_ledger_keeps_why(challenger, admin) -> None:
    answer = admin.post(f"/models/versions/{challenger.pk}/promote/", {"reason": "better <on> main"})
    assert answer["Location"] == "/models/"
    assert schemas.champion(challenger.schema) == challenger
    row = Promotion.objects.latest("pk")
    assert (row.reason, row.replaced.number, row.promoted_by.username) == ("better <on> main", 1, "admin")
    assert row.report["heads"][0]["challenger"] == 0.61
    assert row.report["test_source"] == "imports"
    page = admin.get("/models/").content.decode()
    assert "better &lt;on&gt; main" in page
    assert "Version 2 is in use; open cases are predicted again." in page


@pytest.mark.parametrize("reason", ["", "ok", "x" * 501])
def test_a_promotion_without_a_reason_is_refused(challenger, admin, reason) -> None:
    admin.post(f"/models/versions/{challenger.pk}/promote/", {"reason": reason})
    assert schemas.champion(challenger.schema).number == 1
    assert "Say in a few words why" in admin.get("/models/").content.decode()


def test_a_version_that_is_in_use_is_refused_with_a_message(challenger, admin) -> None:
    champion = schemas.champion(challenger.schema)
    answer = admin.post(f"/models/versions/{champion.pk}/promote/", {"reason": "again"})
    assert "Version 1 is in use already." in admin.get(answer["Location"]).content.decode()


def test_the_label_definitions_have_no_page_and_are_not_promoted(helpline, admin) -> None:
    definitions = helpline.model_versions.get(kind="definitions")
    assert admin.get(f"/models/versions/{definitions.pk}/").status_code == 404
    admin.post(f"/models/versions/{definitions.pk}/promote/", {"reason": "why not"})
    assert list(Promotion.objects.all()) == []
