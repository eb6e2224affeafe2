"""Training a version in a run, measuring it beside the one in use, and taking in one that was made elsewhere."""

# ruff: noqa: PLC0415

from __future__ import annotations

import contextlib
import logging
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings

from ml import gate, metrics, registry, tracking
from ml.config import TrainConfig
from ml.errors import InputError
from ml.policy import Side
from ml.progress import OnProgress, Progress, ignore
from ml.serving import Predictor
from ml.types import Example, Prediction
from webapp import faults
from webapp.actions import receipts, registrations, runs, snapshots, versions
from webapp.errors import NotRegistrable
from webapp.models import CaseText, ModelVersion, Profile, Run, Snapshot, SnapshotRow
from webapp.models.cases import GONE_STATES
from webapp.queries import savepoints, schemas
from webapp.serving import checked_folder
from webapp.worker.answering import NEUTRAL, Model, model_of

if TYPE_CHECKING:
    from ml.encoder import Encoder

logger = logging.getLogger(__name__)

FEWEST_VALIDATION = 50  # An accuracy on 50 cases is known to within 14%; on fewer, chance chooses the epoch
FOLDER_MODE = 0o700


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
    except InputError as exc:
        runs.fail(run, reason=f"{exc}.")
    except Exception as exc:
        # Only the kind: the message of a foreign error may quote a text
        runs.fail(run, reason=f"{type(exc).__name__} while training; the log of the training worker says where.")
        raise


def register(folder: Path, *, progress: OnProgress = ignore) -> ModelVersion:
    """Take in a model folder that was made elsewhere, measured on the test cases as they stand beside the champion.

    Raises:
        NotRegistrable: it is no whole model folder that answers, is registered already, or does not fit the schema.
    """
    found = registrations.check(folder)
    try:
        model = Predictor(folder)
        model.predict([NEUTRAL])
    except Exception as exc:  # A file may be as the manifest says and still be no network
        raise NotRegistrable(f"the model in {folder} does not answer ({type(exc).__name__})") from exc
    snapshot = snapshots.take(found.schema_version)
    test = _examples(snapshot.rows.filter(side=Side.TEST))
    try:
        measured = _measure(model, snapshot, test, progress)
    except InputError as exc:
        raise NotRegistrable(f"the version in use cannot be measured beside it: {exc}") from exc
    return registrations.store(found, measured)


def _train(run: Run) -> None:
    from ml import export, training

    tell = _teller(run)
    tell(Progress("snapshot", 0, 1))
    snapshot = run.snapshot or snapshots.take(run.schema_version)  # Of the one that it resumes
    runs.learns_from(run, snapshot)
    validation = snapshot.rows.filter(side=Side.VALIDATION) if _holds_out(run, snapshot) else SnapshotRow.objects.none()
    learnt = snapshot.rows.exclude(side=Side.TEST).exclude(pk__in=validation.values("pk"))
    test = _examples(snapshot.rows.filter(side=Side.TEST))
    config = TrainConfig(profile=run.profile, seed=run.seed)
    name = f"{run.schema.name}-run-{run.pk}"
    folder, exports = Path(settings.MODELS_DIR) / name, _private("exports")
    with _tracked(run, name, {"data_sha256": snapshot.digest, **config.as_json()}) as tracked:
        tell = tracked.watch(tell)
        trained = training.train(
            _examples(learnt),
            run.schema_version.parsed,
            config,
            encoder=_encoder(run, snapshot),
            validation=_examples(validation),
            exports=exports,
            savepoints=(points := savepoints.folder(run)),
            resume=points if run.resumes else None,
            progress=tell,
        )
        manifest = export.save(trained, folder, data_hash=snapshot.digest, exports=exports, progress=tell)
        tracked.finish(manifest, folder)
    faults.point("training-saved")
    model, old = Predictor(folder), schemas.champion(run.schema)
    measured = _measure(model, snapshot, test, tell)
    digest = registry.manifest_hash(folder)
    made = runs.succeed(run, folder=name, manifest=manifest, manifest_hash=digest, measured=measured)
    faults.point("training-stored")
    receipts.try_to_write(made, now=model.predict, before=model_of(old).predict if old else None)
    shutil.rmtree(points, ignore_errors=True)


@contextlib.contextmanager
def _tracked(run: Run, name: str, parameters: Mapping[str, Any]) -> Iterator[tracking.Run]:
    """Record a training where the settings say. One that cannot be recorded goes on without; the log says so."""
    parameters = {"schema_version": run.schema_version.number, "encoder": settings.ENCODER, **parameters}
    with contextlib.ExitStack() as stack:
        try:
            opened = stack.enter_context(
                tracking.run(settings.MLFLOW_TRACKING_URI, experiment=run.schema.name, name=name, parameters=parameters)
            )
        except tracking.TrackingError:
            logger.warning("training run is not recorded by MLflow", extra={"run": run.pk})
            opened = tracking.Run()
        yield opened
    if opened.failure:
        logger.warning("training run is recorded by MLflow in part", extra={"run": run.pk})


def _holds_out(run: Run, snapshot: Snapshot) -> bool:
    """Whether a run leaves the validation side out: a tuned encoder cannot learn in folds.

    The heads of the fast profile do, which calibrates better, and so learn from the validation side too.
    """
    return run.profile == Profile.FULL and snapshot.counts.get(Side.VALIDATION, 0) >= FEWEST_VALIDATION


def _encoder(run: Run, snapshot: Snapshot) -> Encoder:
    """Load what a run begins with: the encoder as the champion tuned it for a full run, or else as it was published."""
    from ml import encoder, export
    from ml.cache import Cache

    cache = Cache(_private("vectors"), settings.VECTORS_MAX_BYTES)
    champion = schemas.champion(run.schema)
    if run.profile == Profile.FULL and champion is not None and _can_go_on(run, snapshot, champion):
        return export.restore(checked_folder(champion), cache=cache)
    return encoder.load(settings.ENCODER, cache=cache)


def _can_go_on(run: Run, snapshot: Snapshot, champion: ModelVersion) -> bool:
    """Whether the champion tuned the encoder that is set, and never learnt from the rows that this run leaves out."""
    reading = champion.manifest["encoder"]
    made_by = Run.objects.filter(version=champion).select_related("snapshot").first()  # None of one made elsewhere
    if not reading["is_tuned"] or reading["name"] != settings.ENCODER or made_by is None or made_by.snapshot is None:
        return False
    return _holds_out(made_by, made_by.snapshot) == _holds_out(run, snapshot)


def _private(name: str) -> Path:
    """Return a folder of the cache that nobody else may look into: vectors tell much of the texts."""
    folder = Path(settings.CACHE_DIR) / name
    for place in (folder.parent, folder):
        place.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        place.chmod(FOLDER_MODE)
    return folder


def _teller(run: Run) -> OnProgress:
    """Return what writes the progress of a run to its row, with the seconds that its phase still takes at this pace."""
    phase, begun = "", 0.0

    def tell(progress: Progress) -> None:
        nonlocal phase, begun
        if progress.phase != phase or progress.done == 0:
            phase, begun = progress.phase, time.monotonic()
        spent = time.monotonic() - begun
        left = spent * (progress.total - progress.done) / progress.done if progress.done else None
        runs.beat(run, {**asdict(progress), "seconds_left": left})

    return tell


def _measure(model: Predictor, snapshot: Snapshot, test: list[Example], tell: OnProgress) -> versions.Measured:
    """Measure a model on the test side of a snapshot, and the champion beside it."""
    version = snapshot.schema_version
    champion = schemas.champion(version.schema)
    said, cost = _tried(model, test, tell)
    figures = metrics.evaluate(version.parsed, test, said)
    if champion is None:
        return versions.Measured(snapshot, figures)
    theirs, their_cost = _tried(model_of(champion), test, tell)
    report = gate.compare(version.parsed, schemas.policy(version.schema).parsed, test, theirs, said)
    found = {**report.as_json(), "cost": {"champion": their_cost, "challenger": cost}}
    return versions.Measured(snapshot, figures, champion, metrics.evaluate(version.parsed, test, theirs), found)


def _tried(model: Model, test: list[Example], tell: OnProgress) -> tuple[list[Prediction], dict[str, float | None]]:
    """Return what a model says of test cases, and what that costs: milliseconds a case, and bytes of its files."""
    begun = time.perf_counter()
    said = model.predict([example.text for example in test], progress=tell)
    milliseconds = 1000 * (time.perf_counter() - begun) / max(len(test), 1)
    return said, {"milliseconds": milliseconds, "bytes": model.size_bytes if isinstance(model, Predictor) else None}


def _examples(rows: Iterable[SnapshotRow]) -> list[Example]:
    """Return the rows of a snapshot with their texts; what was withdrawn or erased since is left out."""
    labels = {row.case_id: row.labels for row in rows}
    texts = CaseText.objects.filter(case__in=labels).exclude(case__state__in=GONE_STATES)
    texts = texts.select_related("case").order_by("case_id")
    return [
        Example(str(text.case_id), text.text, labels[text.case_id], text.case.source, metadata=text.case.metadata)
        for text in texts
    ]
