"""What workers do with models: the only module of the web app that reaches torch."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from django.conf import settings

from ml import definitions, encoder, metrics, registry, schema, training
from ml.policy import Side
from ml.predictor import Predictor
from ml.training import OnProgress, Progress
from ml.types import Example, Prediction
from webapp import tasks
from webapp.actions import predictions, runs, snapshots
from webapp.models import CaseText, ModelVersion, Run, Schema, SnapshotRow
from webapp.queries import schemas

logger = logging.getLogger(__name__)

BATCH = 64  # Cases between two commits
MOST_BATCHES = 4  # Of one turn; then other short work has its turn before it goes on
BACKGROUND = 64  # Cases that tell the definitions what any text is like


class Model(Protocol):
    """What answers: a trained model, or the label definitions."""

    def predict(self, texts: list[str], *, progress: OnProgress | None = None) -> list[Prediction]:
        """Predict each text."""


_kept: dict[int, tuple[int, Model]] = {}  # Schema -> the version that answers, and its model; loading takes seconds


def predict_cases(schema_id: int) -> None:
    """Predict what waits, batch by batch, each by the version that is in use when the batch begins."""
    row = Schema.objects.get(pk=schema_id)
    for _ in range(MOST_BATCHES):
        cases = predictions.claim(row, BATCH)
        if not cases:
            return
        try:
            version = schemas.answering_version(row)
            predictions.store(version, cases, model_of(version).predict([case.stored_text.text for case in cases]))
        except Exception:
            predictions.give_back(cases)
            raise
    tasks.predict_cases.delay(schema_id)


def train(run_id: int) -> None:
    """Train a queued run and record how it ended. A second delivery does nothing."""
    run = runs.claim(run_id)
    if run is None:
        return  # Another worker owns it, or it was cancelled
    try:
        with runs.kept_alive(run):
            _train(run)
    except runs.Cancelled:
        logger.info("training run ended from outside", extra={"run": run.pk})
    except training.TrainingError as exc:
        runs.fail(run, reason=f"{exc}.")
    except Exception as exc:
        # Only the kind: the message of a foreign error may quote a text
        runs.fail(run, reason=f"{type(exc).__name__} while training; the log of the training worker says where.")
        raise


def model_of(version: ModelVersion) -> Model:
    """Return the model of a version, loaded at most once while it is the one that answers."""
    known = _kept.get(version.schema_id)
    if known is None or known[0] != version.pk:
        known = _kept[version.schema_id] = (version.pk, _load(version))
    return known[1]


def _load(version: ModelVersion) -> Model:
    if not version.is_trained:
        usual = CaseText.objects.filter(case__schema=version.schema_id).order_by("case_id")[:BACKGROUND]
        return definitions.Definitions(
            version.schema_version.parsed,
            encoder.load(settings.ENCODER),
            background=list(usual.values_list("text", flat=True)),
        )
    folder = Path(settings.MODELS_DIR) / version.folder
    if registry.manifest_hash(folder) != version.manifest_hash:
        raise registry.ModelFolderError(f"{folder} has another manifest than the one that was trained")
    return Predictor(folder)


def _train(run: Run) -> None:
    def tell(progress: Progress) -> None:
        runs.beat(run, asdict(progress))

    tell(Progress("snapshot", 0, 1))
    snapshot = snapshots.take(run.schema_version)
    # The rows for validation are learnt from too: the fast profile holds out folds in turn, which calibrates better
    examples = _examples(snapshot.rows.exclude(side=Side.TEST))
    test = _examples(snapshot.rows.filter(side=Side.TEST))
    parsed = run.schema_version.parsed
    config = training.TrainConfig(profile=run.profile, seed=run.seed)
    trained = training.train(examples, parsed, config, encoder=encoder.load(settings.ENCODER), progress=tell)
    name = f"{run.schema.name}-run-{run.pk}"
    folder = Path(settings.MODELS_DIR) / name
    manifest = registry.save(trained, folder, data_hash=snapshot.digest)
    champion = schemas.champion(run.schema)
    runs.succeed(
        run,
        snapshot=snapshot,
        folder=name,
        manifest=manifest,
        manifest_hash=registry.manifest_hash(folder),
        figures=_evaluate(parsed, Predictor(folder), test, tell),
        champion=champion,
        champion_figures=_evaluate(parsed, model_of(champion), test, tell) if champion else None,
    )


def _evaluate(parsed: schema.Schema, model: Model, test: list[Example], tell: OnProgress) -> dict[str, Any]:
    return metrics.evaluate(parsed, test, model.predict([example.text for example in test], progress=tell))


def _examples(rows: Iterable[SnapshotRow]) -> list[Example]:
    """Return the rows of a snapshot with their texts; one whose text was erased since is left out."""
    labels = {row.case_id: row.labels for row in rows}
    texts = CaseText.objects.filter(case__in=labels).order_by("case_id")
    return [Example(id=str(text.case_id), text=text.text, labels=labels[text.case_id]) for text in texts]
