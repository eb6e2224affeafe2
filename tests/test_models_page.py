"""Runs, versions and promotions in the browser."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest
from django.conf import settings
from django.test import Client

from ml.schema import Kind
from ml.spans import SpanFaults
from tests.conftest import trained_version
from webapp.actions import promotions, runs, snapshots
from webapp.models import Evaluation, ModelVersion, Promotion, Run, RunState, Schema
from webapp.queries import gate, learning, schemas, wording
from webapp.roles import Role

FAST = {"profile": "fast"}
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
    answer = admin.post("/models/helpline/retrain/", FAST)
    run = Run.objects.get()
    assert (answer["Location"], run.requested_by.username) == (f"/models/runs/{run.pk}/", "admin")
    assert run.profile == "fast"
    page = admin.get(answer["Location"]).content.decode()
    assert "Waiting for the training worker." in page
    assert "Cancel" in page


def test_why_runs_failed_is_told_only_where_one_did(labelled, admin) -> None:
    admin.post("/models/helpline/retrain/", FAST)
    assert "Why it failed" not in admin.get("/models/").content.decode()
    Run.objects.update(state=RunState.FAILED, failure="out of memory")
    page = admin.get("/models/").content.decode()
    assert "<th>Why it failed</th>" in page
    assert "<td>out of memory</td>" in page


def test_an_admin_chooses_how_much_a_training_learns(labelled, admin) -> None:
    page = admin.get("/models/").content.decode()
    assert 'value="fast" checked>fast: seconds to a minute; heads only' in page
    assert 'value="full">full: minutes to hours; tunes the encoder too' in page
    answer = admin.post("/models/helpline/retrain/", {"profile": "full"})
    assert Run.objects.get().profile == "full"
    assert "full: minutes to hours; tunes the encoder too" in admin.get(answer["Location"]).content.decode()
    assert "<td>full</td><td>queued</td>" in admin.get("/models/").content.decode()


@pytest.mark.parametrize("form", [{}, {"profile": "slow"}], ids=["none", "another"])
def test_a_training_without_a_known_profile_is_refused(labelled, admin, form) -> None:
    answer = admin.post("/models/helpline/retrain/", form)
    assert "Choose how much to learn: fast or full." in admin.get(answer["Location"]).content.decode()
    assert list(Run.objects.all()) == []


def test_a_second_training_and_one_without_labels_are_refused_with_a_message(labelled, admin) -> None:
    admin.post("/models/helpline/retrain/", FAST)
    assert admin.post("/models/helpline/retrain/", FAST)["Location"] == "/models/"
    admin.post("/models/customer/retrain/", FAST)
    page = admin.get("/models/").content.decode()
    assert "A training of Child helpline calls is under way" in page
    assert "has 0 labelled cases; training needs 20" in page
    assert admin.post("/models/weather/retrain/", FAST).status_code == 404
    assert Run.objects.get().schema == labelled


def test_the_progress_of_a_run_is_fetched_until_it_ends(labelled, admin) -> None:
    run = runs.claim(runs.request(labelled).pk)
    runs.beat(run, {"phase": "train", "done": 3, "total": 10, "loss": 0.1234, "metrics": {"priority": 0.5}})
    middle = admin.get(f"/models/runs/{run.pk}/", headers={"HX-Request": "true"}).content.decode()
    assert "Running</b>: training the heads, 3 of 10 rounds" in middle
    assert "loss 0.123 · priority 0.500" in middle
    assert "hx-get" in middle
    assert "<html" not in middle
    runs.fail(run, reason="out of memory")
    middle = admin.get(f"/models/runs/{run.pk}/", headers={"HX-Request": "true"}).content.decode()
    assert "▲ out of memory" in middle
    assert "hx-get" not in middle


@pytest.mark.parametrize(
    ("phase", "left", "words"),
    [
        ("snapshot", None, "freezing the labels to learn from"),
        ("encode", 200, "reading the texts, 3 of 10 texts; about 3 minutes left of this step"),
        ("train", 12, "training the heads, 3 of 10 rounds; less than a minute left of this step"),
        ("lower layers", 60, "with the layers that stay as they are, 3 of 10 texts; about 1 minute left of this step"),
        ("tune", 7300, "tuning the encoder, 3 of 10 steps; at most about 2 hours left of this step"),
        ("export", 0, "comparing what is served with what was trained; less than a minute left of this step"),
        ("predict", None, "measuring on cases that it did not learn from, 3 of 10 texts"),
    ],
)
def test_a_run_says_in_plain_words_what_it_does_and_how_long_that_takes(labelled, admin, phase, left, words) -> None:
    run = runs.claim(runs.request(labelled).pk)
    runs.beat(run, {"phase": phase, "done": 3, "total": 10, "loss": None, "metrics": {}, "seconds_left": left})
    assert f"{words}</p>" in admin.get(f"/models/runs/{run.pk}/").content.decode()


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
    assert '<td class="num">+0.110</td>' in page


def test_a_champion_that_is_measured_again_keeps_the_comparison_that_it_was_promoted_by(
    challenger, labelled, import_rows, admin
) -> None:
    promotions.promote(challenger, by=None, reason="better")
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
    assert '<td class="num">+0.110</td>' in page
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


@pytest.fixture
def measured(labelled) -> ModelVersion:
    """A version with heads of every kind, and a manifest that tells what int8 costs and which spans were left out."""
    export = {"precision": "int8", "n": 128, "int8": {}}
    export["int8"] = {"priority": {"drop": 0.004, "change": 0.0121}, "entities": {"drop": -0.002, "change": 0.0}}
    faults = {"entities": {"empty": 0, "duplicate": 1, "overlapping": 3, "misaligned": 2, "unknown": 0}}
    newest = schemas.newest_version(labelled)
    version = ModelVersion.objects.create(
        schema=labelled,
        schema_version=newest,
        kind="trained",
        number=1,
        manifest={"export": export, "faults": faults},
    )
    known = {"n": 80, "macro_f1": 0.5, "ece": 0.041, "ece_interval": [0.021, 0.083], "ece_perfect": 0.035}
    unknown = {"n": 80, "macro_f1": 0.5, "ece": None, "ece_interval": None, "ece_perfect": None}
    heads = {
        "entities": known | {"micro_f1": 0.812, "majority": 0.0},
        "call_quality": unknown | {"accuracy": 0.795, "majority": 0.693},
    }
    Evaluation.objects.create(version=version, snapshot=snapshots.take(newest), heads=heads)
    return version


def test_entities_and_call_quality_stand_in_the_table_of_measures(measured, admin) -> None:
    _, _, rows = learning.compare(measured)
    assert [(row.head, row.metric, row.challenger, row.majority, row.interval) for row in rows] == [
        ("Entities", "micro F1 of spans", 0.812, 0.0, None),
        ("Call quality", "accuracy of criteria", 0.795, 0.693, None),
    ]
    page = admin.get(f"/models/versions/{measured.pk}/").content.decode()
    assert '0.041 <small class="quiet">(0.02 to 0.08; by chance alone 0.035)</small>' in page
    assert '<td class="num">0.693</td><td class="num">\N{EN DASH}' in page


def test_the_page_of_a_version_says_what_int8_costs_and_what_could_not_be_learnt(measured, admin) -> None:
    page = admin.get(f"/models/versions/{measured.pk}/").content.decode()
    assert "In int8. What that costs on 128 labelled cases:" in page
    assert '<td>Priority</td><td class="num">0.004</td><td class="num">0.012</td>' in page
    assert '<td>Entities</td><td class="num">-0.002</td><td class="num">\N{EN DASH}</td>' in page
    assert "Entities: 1 marked twice, 3 overlapping another, 2 ending inside a word" in page


def test_the_page_of_a_version_says_why_it_is_not_served_in_int8(measured) -> None:
    measured.manifest["export"] |= {"precision": "float32", "float32": {}}
    assert [(cost.head, cost.drop, cost.change) for cost in learning.served(measured).costs] == [
        ("Priority", 0.004, 0.0121),
        ("Entities", -0.002, None),
    ]
    assert learning.served(measured).precision == "float32"


def test_a_version_whose_manifest_tells_nothing_shows_nothing(challenger, admin) -> None:
    assert (learning.served(challenger), learning.faults(challenger)) == (None, [])
    page = admin.get(f"/models/versions/{challenger.pk}/").content.decode()
    assert "How it is served" not in page
    assert "could not be learnt" not in page


def test_every_fault_of_spans_and_every_kind_of_head_has_words() -> None:
    assert set(wording.SPAN_FAULTS) == {one.name for one in fields(SpanFaults)}


def test_every_phase_of_a_training_has_words() -> None:
    code = "".join(path.read_text() for path in (settings.BASE_DIR / "ml").glob("*.py"))
    phases = set(re.findall(r'Progress\("([^"]+)"', code))
    assert "teachers" in phases
    assert phases - {"simulate"} <= wording.PHASES.keys()  # That one is of the command alone
    assert set(learning.MEASURES) == set(Kind)


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


GATE = {
    "verdict": "refused",
    "sentence": "Refused: recall of <b> fell from 0.90 to 0.70 on 30 cases.",
    "heads": [{"subject": "Main category", "n": 100, "champion": 0.5, "challenger": 0.61, "low": 0.02, "high": 0.2}],
    "dangers": [{"subject": "<b>", "n": 30, "champion": 0.9, "challenger": 0.7, "low": -0.4, "high": 0.0}],
    "calibration": [
        {"subject": "Main category", "n": 100, "champion": 0.1, "challenger": 0.2, "low": 0.05, "high": 0.2}
    ],
    "slices": [{"subject": "county A", "n": 40, "champion": 0.6, "challenger": 0.6, "low": -0.1, "high": 0.1}],
    "reasons": [
        {"kind": "recall", "words": "recall of <b> fell from 0.90 to 0.70 on 30 cases", "subject": "<b>"},
        {"kind": "better", "words": "Main category 0.61 against 0.50", "subject": "Main category"},
    ],
    "few": {"county": 12},
    "rules": {"least_cases": 20},
}


def test_a_version_that_the_gate_refuses_is_put_in_use_only_by_who_says_so(challenger, admin) -> None:
    Evaluation.objects.filter(version=challenger).update(gate=GATE)
    page = admin.get(f"/models/versions/{challenger.pk}/").content.decode()
    assert "▲ Refused: recall of &lt;b&gt; fell from 0.90 to 0.70 on 30 cases." in page
    assert '<td class="num">-0.400 to 0.000</td>' in page
    assert "Not enough cases (fewer than 20): county, 12 slices." in page
    address = f"/models/versions/{challenger.pk}/promote/"
    admin.post(address, {"reason": "we want it"})
    assert schemas.champion(challenger.schema).number == 1
    admin.post(address, {"reason": "we want it", "override": "1"})
    assert schemas.champion(challenger.schema) == challenger
    row = Promotion.objects.latest("pk")
    assert f'<a href="/models/ledger/{row.pk}/">' in admin.get("/models/").content.decode()
    frozen = admin.get(f"/models/ledger/{row.pk}/").content.decode()
    assert "The gate was overridden." in frozen
    assert "Refused: recall of &lt;b&gt; fell" in frozen


def test_the_page_of_a_version_begins_with_the_verdict_and_marks_what_it_rests_on(challenger, admin) -> None:
    Evaluation.objects.filter(version=challenger).update(gate=GATE)
    page = admin.get(f"/models/versions/{challenger.pk}/").content.decode()
    assert page.index("▲ Refused: recall of") < page.index("Measured on")
    told = gate.told(GATE)
    assert [(row.found["subject"], row.is_veto, row.has_decided, row.change.sign) for row in told.rows] == [
        ("<b>", True, True, "≈"),  # Within noise, and yet more than the margin
        ("Main category", False, False, "✓"),
        ("Main category", False, False, "▼"),  # Its calibration error rose
    ]
    assert "■ veto</strong> &lt;b&gt;" in page
    assert '<td class="num">+0.110 <span class="good">✓ better</span></td>' in page
    assert '<td class="urgent nowrap">▼ worse</td>' in page
    assert '<td class="quiet nowrap">≈ the same within noise</td>' in page
    (better, *_) = gate.told(GATE | {"verdict": "better", "reasons": GATE["reasons"][1:]}).rows
    assert (better.found["subject"], better.has_decided, better.is_veto) == ("Main category", True, False)


def test_an_admin_goes_back_to_the_version_before(challenger, admin) -> None:
    promotions.promote(challenger, by=None, reason="better")
    assert "Go back to version 1" in admin.get("/models/").content.decode()
    address = f"/models/versions/{challenger.pk}/roll-back/"
    admin.post(address, {"reason": ""})
    assert schemas.champion(challenger.schema) == challenger
    admin.post(address, {"reason": "worse at night"})
    page = admin.get("/models/").content.decode()
    assert "Version 1 is in use again; open cases are predicted again." in page
    assert "Go back" not in page
    assert (schemas.champion(challenger.schema).number, Promotion.objects.latest("pk").reason) == (1, "worse at night")


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
