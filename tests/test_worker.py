"""What workers do with models: real trainings of a tiny model, and predicting by whichever version is in use."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as configured

from ml import metrics, policy, registry, training
from ml.registry import SERVED, ModelFolderError
from ml.serving import Predictor
from ml.types import Example
from tests import tiny
from tests.conftest import case_named, row_of, train
from webapp import checks, worker
from webapp.actions import promotions, runs, snapshots
from webapp.models import Case, CaseState, CaseText, Evaluation, ModelVersion, Run, RunState, Schema
from webapp.queries import schemas as in_force
from webapp.roles import Role

MARKER = "my stepfather locks the door"


@pytest.fixture
def labelled(toy: Schema, import_rows: Callable[..., Any]) -> Schema:
    """The toy schema with eighty labelled cases."""
    report = import_rows(toy, *(row_of(case) for case in tiny.cases(80)))
    assert report.new == 80
    return toy


@pytest.fixture
def champion(labelled: Schema) -> ModelVersion:
    """A version that was trained and is in use."""
    version = train(labelled).version
    promotions.promote(version, by=None, reason="the first")
    return version


def folder_of(version: ModelVersion) -> Path:
    return Path(configured.MODELS_DIR) / version.folder


def unseen_cases(schema: Schema) -> list[Example]:
    """The labelled cases that no version learns from."""
    cases = Case.objects.filter(schema=schema, side=policy.Side.TEST).order_by("pk").select_related("stored_text")
    return [
        Example(str(case.pk), case.stored_text.text, dict(case.labels.values_list("head", "answer"))) for case in cases
    ]


def figures(folder: Path, schema: Schema) -> dict[str, Any]:
    """What a model folder scores, computed here once more."""
    unseen = unseen_cases(schema)
    return metrics.evaluate(tiny.toy_schema(), unseen, Predictor(folder).predict([case.text for case in unseen]))


# -------------------------------------------------------------------------------------------------------- training


def test_a_run_stores_a_version_its_folder_and_its_figures(labelled) -> None:
    run = train(labelled)
    version = run.version
    assert (run.state, run.failure) == (RunState.SUCCEEDED, "")
    assert run.started_at <= run.heartbeat_at <= run.finished_at
    assert (version.kind, version.number, str(version.schema_version)) == ("trained", 1, "toy 1")
    folder = folder_of(version)
    assert {path.name for path in folder.iterdir()} == {*SERVED, "manifest.json", "heads.safetensors"}
    assert version.manifest_hash == registry.manifest_hash(folder)
    assert version.manifest == registry.read_manifest(folder)
    assert version.manifest["data_sha256"] == run.snapshot.digest
    evaluation = Evaluation.objects.get()
    assert (evaluation.version, evaluation.snapshot, evaluation.compared_with) == (version, run.snapshot, None)
    assert evaluation.heads == figures(folder, labelled)
    held_out = run.snapshot.rows.filter(side="test").count()
    assert held_out == len(unseen_cases(labelled)) > 0
    assert {head: found["n"] for head, found in evaluation.heads.items()} == dict.fromkeys(
        ("place", "thing", "mood", "names", "manner"), held_out
    )


def test_what_is_measured_on_is_not_learnt_from(labelled, monkeypatch) -> None:
    learnt: list[str] = []
    real = training.train

    def noting(examples: list[Example], *args: Any, **rest: Any) -> Any:
        learnt.extend(example.id for example in examples)
        return real(examples, *args, **rest)

    monkeypatch.setattr(training, "train", noting)
    run = train(labelled)
    measured = {case.id for case in unseen_cases(labelled)}
    assert len(learnt) == len(set(learnt)) == 80 - len(measured)
    assert set(learnt) & measured == set()
    assert run.version.manifest["counts"]["train"]["place"] == len(learnt)


def test_champion_and_challenger_are_measured_on_the_same_snapshot(labelled, champion, import_rows) -> None:
    import_rows(labelled, *(row_of(case, prefix="more") for case in tiny.cases(60, seed=1)))
    run = train(labelled)
    assert (run.version.number, run.snapshot.rows.count()) == (2, 140)
    first, second = Evaluation.objects.filter(snapshot=run.snapshot).order_by("version__number")
    assert (first.version, second.version, second.compared_with) == (champion, run.version, champion)
    assert first.heads == figures(folder_of(champion), labelled)
    assert second.heads == figures(folder_of(run.version), labelled)
    assert first.heads["place"]["n"] == second.heads["place"]["n"] == len(unseen_cases(labelled))
    assert in_force.champion(labelled) == champion


def test_a_run_without_cases_to_measure_on_still_stores_its_version(toy, import_rows) -> None:
    seen = [case for case in tiny.cases(80) if not is_for_test(case)][:40]
    import_rows(toy, *(row_of(case) for case in seen))
    run = train(toy)
    assert (run.state, run.snapshot.counts.get("test")) == (RunState.SUCCEEDED, None)
    assert Evaluation.objects.get().heads == {}


def test_a_case_whose_text_is_erased_meanwhile_is_left_out(labelled, monkeypatch) -> None:
    take = snapshots.take

    def erased_meanwhile(*args: Any) -> Any:
        snapshot = take(*args)
        CaseText.objects.filter(case__in=snapshot.rows.exclude(side="test").values("case")[:5]).delete()
        return snapshot

    monkeypatch.setattr(snapshots, "take", erased_meanwhile)
    run = train(labelled)
    learnt = run.snapshot.rows.exclude(side="test").count()
    assert run.version.manifest["counts"]["train"]["place"] == learnt - 5


def test_a_run_that_is_delivered_twice_trains_once(labelled, monkeypatch) -> None:
    run = train(labelled)
    ended = run.finished_at
    monkeypatch.setattr(training, "train", must_not_happen)
    worker.train(run.pk)
    run.refresh_from_db()
    assert (run.state, run.finished_at) == (RunState.SUCCEEDED, ended)
    assert ModelVersion.objects.filter(kind="trained").count() == 1


def test_a_run_that_was_cancelled_before_it_began_trains_nothing(labelled, person, monkeypatch) -> None:
    run = runs.request(labelled)
    runs.cancel(run, by=person(Role.ADMIN))
    monkeypatch.setattr(training, "train", must_not_happen)
    worker.train(run.pk)
    run.refresh_from_db()
    assert (run.state, run.started_at) == (RunState.CANCELLED, None)


@pytest.mark.parametrize("is_trained", [False, True], ids=["while it trains", "after it trained"])
def test_a_run_that_is_cancelled_stores_no_version(labelled, person, monkeypatch, is_trained) -> None:
    admin = person(Role.ADMIN)
    real = training.train

    def cancelled(*args: Any, **rest: Any) -> Any:
        found = real(*args, **rest) if is_trained else None
        runs.cancel(Run.objects.get(), by=admin)
        return found or real(*args, **rest)

    monkeypatch.setattr(training, "train", cancelled)
    run = train(labelled)
    assert (run.state, run.version, run.failure) == (RunState.CANCELLED, None, "")
    assert list(ModelVersion.objects.filter(kind="trained")) == []
    assert list(Evaluation.objects.all()) == []


@pytest.mark.django_db(transaction=True)
def test_a_run_is_heard_of_while_a_long_step_tells_nothing(labelled, sent, monkeypatch) -> None:
    monkeypatch.setattr(runs, "BEAT_EVERY", timedelta(seconds=0.05))
    real = training.train

    def silent_at_first(*args: Any, **rest: Any) -> Any:
        begun = Run.objects.get().heartbeat_at
        deadline = time.monotonic() + 10
        while Run.objects.get().heartbeat_at == begun:
            assert time.monotonic() < deadline, "no heartbeat"
        return real(*args, **rest)

    monkeypatch.setattr(training, "train", silent_at_first)
    assert train(labelled).state == RunState.SUCCEEDED


def test_a_run_with_too_little_to_learn_from_fails_in_words(toy, import_rows) -> None:
    answers = {"place": "sea", "mood": ["calm"], "names": [{"start": 0, "end": 3, "label": "NAME"}]}
    labelled = [
        Example(f"{head}{n}", f"the sea {head} {n}", {head: answers[head]}) for head in answers for n in range(7)
    ]
    import_rows(toy, *(row_of(case) for case in labelled))
    run = train(toy)
    known = {head: sum(head in case.labels for case in labelled if not is_for_test(case)) for head in answers}
    assert run.state == RunState.FAILED
    assert run.failure == (
        "no head has 8 labelled examples to learn from "
        f"(place: {known['place']}, thing: 0, mood: {known['mood']}, names: {known['names']}, manner: 0)."
    )


def test_a_training_that_breaks_fails_its_run_without_quoting_and_is_raised(labelled, monkeypatch) -> None:
    def broken(examples: list[Example], *args: Any, **rest: Any) -> Any:
        raise ValueError(f"cannot read {examples[0].text} {MARKER}")

    monkeypatch.setattr(training, "train", broken)
    run = runs.request(labelled)
    with pytest.raises(ValueError, match="stepfather"):
        worker.train(run.pk)
    run.refresh_from_db()
    assert (run.state, run.version) == (RunState.FAILED, None)
    assert run.failure == "ValueError while training; the log of the training worker says where."
    assert runs.request(labelled).state == RunState.QUEUED  # It leaves room for the next one


def test_a_fault_of_a_model_folder_is_told_on_the_run(labelled, champion, monkeypatch) -> None:
    monkeypatch.setattr(worker.answering, "_kept", {})  # As after a restart
    (folder_of(champion) / "heads.onnx").unlink()
    run = train(labelled)
    assert run.state == RunState.FAILED
    assert run.failure.endswith("heads.onnx cannot be read: No such file or directory.")


def test_the_text_of_a_case_is_in_no_log_and_in_no_row_of_a_run(labelled, import_rows, champion, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    labels = {"place": "sea", "thing": "ship", "mood": []}
    import_rows(labelled, *({"id": f"m{n}", "text": f"{MARKER} {n}", "labels": labels} for n in range(10)))
    import_rows(labelled, {"id": "asked", "text": MARKER})
    run = train(labelled)
    worker.predict_cases(labelled.pk)
    assert (run.state, case_named("asked").current_prediction.version) == (RunState.SUCCEEDED, champion)
    said = [f"{record.getMessage()} {record.__dict__}" for record in caplog.records]
    stored = [run.failure, str(run.progress), str(run.version.manifest), str(list(run.snapshot.rows.values()))]
    assert [line for line in [*said, *stored] if "stepfather" in line] == []


# ------------------------------------------------------------------------------------------------------ predicting


def test_before_any_training_the_definitions_answer_and_people_are_asked(toy, import_rows, sent) -> None:
    import_rows(toy, {"id": "1", "text": "the ship was there"}, {"id": "2", "text": "then a road"})
    worker.predict_cases(toy.pk)
    for external_id in ("1", "2"):
        case = case_named(external_id)
        heads = case.current_prediction.heads
        assert str(case.current_prediction.version) == "label definitions"
        assert {head: found["confidence"] for head, found in heads.items()} == dict.fromkeys(("place", "thing", "mood"))
        assert (case.state, case.predicting_until) == (CaseState.LABELLING, None)
        assert set(case.flags.values_list("kind", "head")) == {("untrained", "place"), ("untrained", "thing")}


def test_after_a_promotion_the_same_process_answers_by_the_champion(labelled, import_rows, sent) -> None:
    import_rows(labelled, {"id": "asked", "text": "we saw the ship ship calm calm"})
    worker.predict_cases(labelled.pk)
    assert str(case_named("asked").current_prediction.version) == "label definitions"
    version = train(labelled).version
    worker.predict_cases(labelled.pk)
    assert str(case_named("asked").current_prediction.version) == "label definitions"
    promotions.promote(version, by=None, reason="it is better")
    worker.predict_cases(labelled.pk)
    found = case_named("asked").current_prediction
    (expected,) = Predictor(folder_of(version)).predict(["we saw the ship ship calm calm"])
    assert found.version == version
    assert (found.heads["place"]["answer"], found.heads["thing"]["answer"]) == ("sea", "ship")
    for head, given in found.heads.items():
        assert given["confidence"] == pytest.approx(expected[head].confidence, abs=1e-4)


def test_what_a_trained_version_looked_at_most_is_kept_with_its_answers(labelled, champion, import_rows, sent) -> None:
    import_rows(labelled, {"id": "asked", "text": f"{'the ' * 40}ship ship calm calm"})
    worker.predict_cases(labelled.pk)
    looks = case_named("asked").current_prediction.looks
    assert set(looks) == {"place", "thing", "mood", "manner"}
    for words in looks.values():
        assert len(words) == worker.predicting.MOST_LOOKS
        assert words == sorted(words)
    assert max(looks["thing"], key=lambda word: word[2])[0] > 150, "where the words of the rule stand"


def test_the_next_champion_takes_over_in_the_same_process(labelled, champion, import_rows, sent) -> None:
    import_rows(labelled, {"id": "asked", "text": "a hill"})
    worker.predict_cases(labelled.pk)
    assert case_named("asked").current_prediction.version == champion
    second = train(labelled).version
    promotions.promote(second, by=None, reason="another")
    worker.predict_cases(labelled.pk)
    assert case_named("asked").current_prediction.version == second
    promotions.promote(champion, by=None, reason="back again")
    worker.predict_cases(labelled.pk)
    assert case_named("asked").current_prediction.version == champion


def test_a_model_is_loaded_once_while_it_answers(labelled, champion, import_rows, sent, monkeypatch) -> None:
    import_rows(labelled, {"id": "1", "text": "a hill"})
    worker.predict_cases(labelled.pk)
    monkeypatch.setattr(worker.answering, "_load", must_not_happen)
    import_rows(labelled, {"id": "2", "text": "a road"})
    worker.predict_cases(labelled.pk)
    assert case_named("2").current_prediction.version == champion


def test_what_is_too_much_for_one_turn_is_sent_for_another(toy, import_rows, sent, monkeypatch) -> None:
    monkeypatch.setattr(worker.predicting, "BATCH", 2)
    monkeypatch.setattr(worker.predicting, "MOST_BATCHES", 2)
    import_rows(toy, *({"id": str(n), "text": f"a ship {n}"} for n in range(5)))
    sent.clear()
    worker.predict_cases(toy.pk)
    assert Case.objects.exclude(current_prediction=None).count() == 4
    assert sent == [("predict_cases", toy.pk)]
    worker.predict_cases(toy.pk)
    assert Case.objects.exclude(current_prediction=None).count() == 5


def test_cases_are_given_back_when_the_model_fails(toy, import_rows, sent, monkeypatch) -> None:
    import_rows(toy, {"id": "1", "text": "a ship"})

    class Broken:
        def predict(self, texts: list[str]) -> Any:
            raise RuntimeError("out of memory")

    monkeypatch.setattr(worker.answering, "_load", lambda version: Broken())
    with pytest.raises(RuntimeError, match="out of memory"):
        worker.predict_cases(toy.pk)
    case = case_named("1")
    assert (case.state, case.current_prediction, case.predicting_until) == (CaseState.NEW, None, None)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("manifest.json", "another manifest than the one that was trained"), ("heads.onnx", "its SHA-256 differs")],
)
def test_a_model_folder_that_was_tampered_with_is_refused(
    labelled, champion, import_rows, sent, monkeypatch, name, complaint
) -> None:
    monkeypatch.setattr(worker.answering, "_kept", {})  # As after a restart
    path = folder_of(champion) / name
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    import_rows(labelled, {"id": "asked", "text": "a ship"})
    with pytest.raises(ModelFolderError, match=complaint):
        worker.predict_cases(labelled.pk)
    case = case_named("asked")
    assert (case.current_prediction, case.predicting_until) == (None, None)
    path.write_bytes(content)
    worker.predict_cases(labelled.pk)
    assert case_named("asked").current_prediction.version == champion


# --------------------------------------------------------------------------------------------------- how it is done


def must_not_happen(*args: Any, **rest: Any) -> None:
    raise AssertionError("this must not happen")


def is_for_test(case: Example) -> bool:
    side = policy.side_of("import", f"labelled-{case.id}", is_audit=False, has_labels=True)
    return side == policy.Side.TEST


# ------------------------------------------------------------------------------------------------------------ MLflow


def test_a_run_is_recorded_where_the_settings_say(labelled, settings, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    settings.MLFLOW_TRACKING_URI = (tmp_path / "runs").as_uri()
    run = train(labelled)
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=settings.MLFLOW_TRACKING_URI)
    [recorded] = client.search_runs([client.get_experiment_by_name("toy").experiment_id])
    assert (recorded.info.run_name, recorded.info.status) == (f"toy-run-{run.pk}", "FINISHED")
    assert recorded.data.params["data_sha256"] == run.snapshot.digest
    assert recorded.data.metrics["final/place/accuracy"] == run.version.manifest["metrics"]["place"]["accuracy"]


def test_a_server_that_takes_no_runs_keeps_nobody_from_training(labelled, settings, monkeypatch, caplog) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    settings.MLFLOW_TRACKING_URI = "http://user:secret@127.0.0.1:1"
    run = train(labelled)
    assert run.state == RunState.SUCCEEDED
    [warning] = [record for record in caplog.records if record.name == "webapp.worker.training"]
    assert (warning.message, warning.run) == ("training run is not recorded by MLflow", run.pk)
    assert "secret" not in caplog.text


def test_an_address_without_mlflow_is_found_at_start(settings, monkeypatch) -> None:
    settings.MLFLOW_TRACKING_URI = "http://127.0.0.1:1"
    assert checks.mlflow_is_installed_where_it_is_used(None) == []
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    [error] = checks.mlflow_is_installed_where_it_is_used(None)
    assert (error.id, error.hint) == ("webapp.E002", "pip install -r requirements-mlflow.txt")
    settings.MLFLOW_TRACKING_URI = ""
    assert checks.mlflow_is_installed_where_it_is_used(None) == []
