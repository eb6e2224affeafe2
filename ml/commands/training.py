"""Commands that train on a file of examples: for a model, or to tell how good the examples and the models are."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ml import examples, metrics, registry, tracking
from ml import schema as schemas
from ml.cache import Cache
from ml.commands import terminal
from ml.config import TrainConfig
from ml.errors import InputError
from ml.pieces import PACKAGED

if TYPE_CHECKING:
    from ml.folds import OutOfFold
    from ml.schema import Schema


def train(options: argparse.Namespace) -> int:
    """Learn a model and write its folder."""
    if options.begin_with and options.encoder:
        raise InputError("--encoder and --from are both given; a model goes on with the encoder that it was trained on")
    if options.resume and not Path(options.resume).is_dir():
        raise InputError(f"--resume: {options.resume} is no folder; expected one that a killed full training left")
    registry.check_new(options.out)
    schema = schemas.load(options.schema)
    rows = examples.read(options.data, schema)
    from ml import encoder, export, training  # noqa: PLC0415 - torch takes seconds, and the other commands do without
    from ml.teachers import Teachers  # noqa: PLC0415 - as training

    keys = training.learnable(schema, rows)  # Before the encoder is loaded, which takes seconds too
    teachers = Teachers(options.teacher) if options.teacher else None
    if teachers:
        teachers.check([schema.head(key) for key in keys])
    terminal.quiet_transformers()
    folder = Path(options.cache).expanduser()
    exports = folder / "exports"
    savepoints = Path(f"{Path(options.out)}-savepoints")
    cache = Cache(folder / "vectors")
    begins = options.begin_with
    if options.layers and not begins and not options.encoder and len(options.teacher) == 1:
        begins = options.teacher[0]  # Its encoder knows what the student is to learn
    reading = export.restore(begins, cache=cache) if begins else encoder.load(options.encoder or PACKAGED, cache=cache)
    if options.layers is not None:
        reading.shallower(options.layers)  # Refused before training, if it is
    config = TrainConfig(profile=options.profile, seed=options.seed, layers=options.layers)
    digest = registry.hash_of(rows)
    given = {"schema": schema.name, "schema_version": schema.version, "encoder": reading.name, "data_sha256": digest}
    given |= config.as_json()
    with tracking.run(options.mlflow, experiment=schema.name, name=Path(options.out).name, parameters=given) as run:
        tell = run.watch(terminal.show)
        trained = training.train(
            rows,
            schema,
            config,
            encoder=reading,
            teachers=teachers,
            exports=exports,
            savepoints=savepoints,
            resume=Path(options.resume) if options.resume else None,
            progress=tell,
        )
        manifest = export.save(trained, options.out, data_hash=digest, exports=exports, progress=tell)
        run.finish(manifest, options.out)
    shutil.rmtree(options.resume or savepoints, ignore_errors=True)  # The model is there
    sys.stderr.write("\n")
    if run.failure:
        sys.stderr.write(f"warning: MLflow did not get all of the run: {run.failure}\n")
    told = ("counts", "faults", "metrics", "export")
    terminal.answer({"model": options.out, **{key: manifest[key] for key in told}})
    return 0


def cross_validate(options: argparse.Namespace) -> int:
    """Measure each row by a model that did not learn from it."""
    schema, found = _out_of_fold(options)
    terminal.answer({"heads": metrics.evaluate(schema, found.rows, found.predictions)})
    return 0


def label_errors(options: argparse.Namespace) -> int:
    """List labels that are probably wrong, one a line."""
    from ml import label_errors  # noqa: PLC0415 - as for training

    for error in label_errors.find(*_out_of_fold(options)):
        terminal.answer(error.as_json())
    return 0


def _out_of_fold(options: argparse.Namespace) -> tuple[Schema, OutOfFold]:
    """Answer the rows of a file by models that did not learn from them."""
    schema = schemas.load(options.schema)
    rows = examples.read(options.data, schema)
    from ml import encoder, folds  # noqa: PLC0415 - as for training

    folds.draw(rows, options.folds, seed=options.seed)  # Before the encoder is loaded, which takes seconds
    terminal.quiet_transformers()
    folder = Path(options.cache).expanduser()
    found = folds.answer(
        rows,
        schema,
        TrainConfig(profile=options.profile, seed=options.seed),
        encoder=encoder.load(options.encoder or PACKAGED, cache=Cache(folder / "vectors")),
        count=options.folds,
        exports=folder / "exports",
        progress=terminal.show,
    )
    sys.stderr.write("\n")
    return schema, found
