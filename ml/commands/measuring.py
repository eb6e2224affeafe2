"""Commands that measure: a model, training beside others, orders of asking, and speed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ml import examples, leaks, metrics
from ml import schema as schemas
from ml.cache import Cache
from ml.commands import terminal
from ml.config import TrainConfig
from ml.errors import InputError
from ml.sampling import strategies
from ml.schema import Kind
from ml.serving import Predictor
from ml.surrogates import NOUNS, is_region


def evaluate(options: argparse.Namespace) -> int:
    """Measure a model on labelled examples."""
    predictor = Predictor(options.model)
    rows = examples.read(options.data, predictor.schema)
    heads = predictor.manifest["heads"]
    if not any(key in row.labels for row in rows for key in heads):
        raise InputError(f"{options.data} has no label for a head of the model: {', '.join(heads)}")
    predictions = predictor.predict([row.text for row in rows], progress=terminal.show)
    sys.stderr.write("\n")
    terminal.answer({"heads": metrics.evaluate(predictor.schema, rows, predictions)})
    return 0


def surrogates(options: argparse.Namespace) -> int:
    """Measure what surrogates leave readable of the names that people marked."""
    predictor = Predictor(options.model)
    rows = examples.read(options.data, predictor.schema)
    heads = [head.key for head in predictor.schema.of_kind(Kind.SPANS)]
    if not any(key in row.labels for row in rows for key in heads):
        raise InputError(f"{options.data} has no entities that people marked; expected some, to compare with")
    known = [label.key for key in heads for label in predictor.schema.head(key).labels]
    if unknown := [label for label in options.labels or () if label not in known]:
        raise InputError(f"{unknown[0]!r} is no label of entities; expected some of {', '.join(known)}")
    if not is_region(options.region):
        raise InputError(f'{options.region!r} is no country with phone numbers; expected one as "KE"')
    predictions = predictor.predict([row.text for row in rows], progress=terminal.show)
    sys.stderr.write("\n")
    labels = options.labels or NOUNS
    terminal.answer(leaks.measure(predictor.schema, rows, predictions, labels=labels, region=options.region))
    return 0


def compare(options: argparse.Namespace) -> int:
    """Measure what training on each file gives beside TF-IDF."""
    schema = schemas.load(options.schema)
    stems = [Path(file).stem for file in options.data]
    if twice := [stem for stem in dict.fromkeys(stems) if stems.count(stem) > 1]:
        raise InputError(f"--data names two files {', '.join(twice)}; expected different names, which tell them apart")
    files = {Path(file).stem: examples.read(file, schema) for file in options.data}
    from ml import baselines, encoder  # noqa: PLC0415 - as for training

    terminal.quiet_transformers()
    config = TrainConfig(profile=options.profile, seed=options.seed)
    reading = encoder.load(options.encoder)
    found = {
        name: baselines.compare(rows, schema, config, encoder=reading, progress=terminal.show)
        for name, rows in files.items()
    }
    sys.stderr.write("\n")
    terminal.answer({"profile": config.profile, "files": found})
    return 0


def simulate(options: argparse.Namespace) -> int:
    """Measure what an order of asking teaches."""
    strategies.named(options.strategy)
    schema = schemas.load(options.schema)
    pool, test = examples.read(options.pool, schema), examples.read(options.test, schema)
    from ml import encoder, simulation  # noqa: PLC0415 - as for training

    asked = {"strategy": options.strategy, "budgets": options.budget, "batch": options.batch}
    simulation.check(pool, test, **asked)
    terminal.quiet_transformers()
    folder = Path(options.cache).expanduser()
    reading = encoder.load(options.encoder, cache=Cache(folder / "vectors"))
    config, exports = TrainConfig(seed=options.seed), folder / "exports"
    found = simulation.run(
        pool, test, schema, **asked, encoder=reading, config=config, exports=exports, progress=terminal.show
    )
    sys.stderr.write("\n")
    terminal.answer(found)
    return 0


def bench(options: argparse.Namespace) -> int:
    """Compare speed with the reference path."""
    schema = schemas.load(options.schema)
    rows = examples.read(options.data, schema)
    from ml import bench  # noqa: PLC0415 - as for training

    terminal.quiet_transformers()
    if options.model:
        found: dict[str, Any] = bench.serve(rows, options.model, rounds=options.rounds)
    else:
        found = bench.run(rows, schema, encoder=options.encoder, rounds=options.rounds, progress=terminal.show)
    sys.stderr.write("\n")
    terminal.answer(found)
    return 0


def learning(options: argparse.Namespace) -> int:
    """Do what is left of the studies, and write the report."""
    from ml import studies  # noqa: PLC0415 - as for training
    from ml.studies import report  # noqa: PLC0415 - as for training
    from ml.studies.lab import Lab  # noqa: PLC0415 - as for training

    if unknown := sorted(set(options.studies) - set(studies.ALL)):
        raise InputError(f"there is no study {', '.join(unknown)}; expected some of {', '.join(studies.ALL)}")
    terminal.quiet_transformers()
    lab = Lab(Path(options.data), Path(options.work), terminal.show)
    wanted = {name: studies.ALL[name] for name in studies.ALL if name in (options.studies or studies.ALL)}
    found: dict[str, dict[str, Any]] = {}
    for name, study in wanted.items():
        for part in study.parts:
            sys.stderr.write(f"\n{study.title}: {part}\n")
            found.setdefault(name, {})[part] = lab.do(study, part)
    sys.stderr.write("\n")
    report.write(wanted, found, Path(options.out))
    return 0
