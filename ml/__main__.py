"""The command line, python -m ml COMMAND; --help lists the commands. Exit code 2: wrong input."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from ml import examples, metrics, registry, tracking
from ml import schema as schemas
from ml.cache import Cache
from ml.config import PROFILES, TrainConfig
from ml.errors import InputError
from ml.pieces import PACKAGED
from ml.progress import Progress
from ml.registry import ModelFolderError
from ml.sampling import strategies
from ml.serving import Predictor
from ml.types import Example

if TYPE_CHECKING:
    from ml.folds import OutOfFold
    from ml.schema import Schema

LINES_AT_ONCE = 512  # Of a stream to predict: enough to sort by length, few enough to answer while reading on
BAR_WIDTH = 30
CACHE = Path("~/.cache/caseloop")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return COMMANDS[options.command](options)
    except InputError as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 2


def _train(options: argparse.Namespace) -> int:
    if options.begin_with and options.encoder:
        raise InputError("--encoder and --from are both given; a model goes on with the encoder that it was trained on")
    registry.check_new(options.out)
    schema = schemas.load(options.schema)
    rows = examples.read(options.data, schema)
    from ml import encoder, export, training  # noqa: PLC0415 - torch takes seconds, and the other commands do without

    training.learnable(schema, rows)  # Before the encoder is loaded, which takes seconds too
    _quiet_transformers()
    folder = Path(options.cache).expanduser()
    cache = Cache(folder / "vectors")
    reading = export.restore(options.begin_with, cache=cache) if options.begin_with else None
    config = TrainConfig(profile=options.profile, seed=options.seed)
    reading = reading or encoder.load(options.encoder or PACKAGED, cache=cache)
    digest = registry.hash_of(rows)
    given = {"schema": schema.name, "schema_version": schema.version, "encoder": reading.name, "data_sha256": digest}
    given |= config.as_json()
    with tracking.run(options.mlflow, experiment=schema.name, name=Path(options.out).name, parameters=given) as run:
        tell = run.watch(_show)
        trained = training.train(rows, schema, config, encoder=reading, exports=folder / "exports", progress=tell)
        manifest = export.save(trained, options.out, data_hash=digest, progress=tell)
        run.finish(manifest, options.out)
    sys.stderr.write("\n")
    if run.failure:
        sys.stderr.write(f"warning: MLflow did not get all of the run: {run.failure}\n")
    told = ("counts", "faults", "metrics", "export")
    _answer({"model": options.out, **{key: manifest[key] for key in told}})
    return 0


def _cross_validate(options: argparse.Namespace) -> int:
    schema, found = _out_of_fold(options)
    _answer({"heads": metrics.evaluate(schema, found.rows, found.predictions)})
    return 0


def _label_errors(options: argparse.Namespace) -> int:
    from ml import label_errors  # noqa: PLC0415 - as for training

    for error in label_errors.find(*_out_of_fold(options)):
        _answer(error.as_json())
    return 0


def _out_of_fold(options: argparse.Namespace) -> tuple[Schema, OutOfFold]:
    """Answer the rows of a file by models that did not learn from them."""
    schema = schemas.load(options.schema)
    rows = examples.read(options.data, schema)
    from ml import encoder, folds  # noqa: PLC0415 - as for training

    folds.draw(rows, options.folds, seed=options.seed)  # Before the encoder is loaded, which takes seconds
    _quiet_transformers()
    folder = Path(options.cache).expanduser()
    found = folds.answer(
        rows,
        schema,
        TrainConfig(profile=options.profile, seed=options.seed),
        encoder=encoder.load(options.encoder or PACKAGED, cache=Cache(folder / "vectors")),
        count=options.folds,
        exports=folder / "exports",
        progress=_show,
    )
    sys.stderr.write("\n")
    return schema, found


def _evaluate(options: argparse.Namespace) -> int:
    predictor = Predictor(options.model)
    rows = examples.read(options.data, predictor.schema)
    heads = predictor.manifest["heads"]
    if not any(key in row.labels for row in rows for key in heads):
        raise InputError(f"{options.data} has no label for a head of the model: {', '.join(heads)}")
    predictions = predictor.predict([row.text for row in rows], progress=_show)
    sys.stderr.write("\n")
    _answer({"heads": metrics.evaluate(predictor.schema, rows, predictions)})
    return 0


def _predict(options: argparse.Namespace) -> int:
    predictor = Predictor(options.model)
    found = examples.scan(sys.stdin.buffer, predictor.schema)  # As bytes, so that a bad one spoils only its line
    is_good = True
    while part := list(islice(found, LINES_AT_ONCE)):
        for fault in part:
            if isinstance(fault, str):
                is_good = False
                sys.stderr.write(f"error: {fault}\n")
        for line in _predicted(predictor, [item for item in part if isinstance(item, Example)]):
            sys.stdout.write(line + "\n")
        sys.stdout.flush()
    return 0 if is_good else 1


def _import_checkpoint(options: argparse.Namespace) -> int:
    out = options.out or f"{Path(options.folder)}-served"
    if Path(out).exists():
        raise ModelFolderError(f"{out} exists already; models are never overwritten")
    from ml import checkpoint  # noqa: PLC0415 - torch takes seconds, and the other commands do without

    found = checkpoint.read(options.folder, schemas.load(options.schema) if options.schema else None)
    rows = examples.read(options.data, found.schema) if options.data else []
    name = Path(options.data).name if options.data else ""
    manifest = checkpoint.save(found, out, rows=rows, rows_from=name, progress=_show)
    if rows:
        sys.stderr.write("\n")
    _answer({"model": out, **{key: manifest[key] for key in ("imported", "counts", "metrics", "export")}})
    return 0


def _compare(options: argparse.Namespace) -> int:
    schema = schemas.load(options.schema)
    stems = [Path(file).stem for file in options.data]
    if twice := [stem for stem in dict.fromkeys(stems) if stems.count(stem) > 1]:
        raise InputError(f"--data names two files {', '.join(twice)}; expected different names, which tell them apart")
    files = {Path(file).stem: examples.read(file, schema) for file in options.data}
    from ml import baselines, encoder  # noqa: PLC0415 - as for training

    _quiet_transformers()
    config = TrainConfig(profile=options.profile, seed=options.seed)
    reading = encoder.load(options.encoder)
    found = {
        name: baselines.compare(rows, schema, config, encoder=reading, progress=_show) for name, rows in files.items()
    }
    sys.stderr.write("\n")
    _answer({"profile": config.profile, "files": found})
    return 0


def _simulate(options: argparse.Namespace) -> int:
    strategies.named(options.strategy)
    schema = schemas.load(options.schema)
    pool, test = examples.read(options.pool, schema), examples.read(options.test, schema)
    from ml import encoder, simulation  # noqa: PLC0415 - as for training

    asked = {"strategy": options.strategy, "budgets": options.budget, "batch": options.batch}
    simulation.check(pool, test, **asked)
    _quiet_transformers()
    folder = Path(options.cache).expanduser()
    reading = encoder.load(options.encoder, cache=Cache(folder / "vectors"))
    config, exports = TrainConfig(seed=options.seed), folder / "exports"
    found = simulation.run(pool, test, schema, **asked, encoder=reading, config=config, exports=exports, progress=_show)
    sys.stderr.write("\n")
    _answer(found)
    return 0


def _bench(options: argparse.Namespace) -> int:
    schema = schemas.load(options.schema)
    rows = examples.read(options.data, schema)
    from ml import bench  # noqa: PLC0415 - as for training

    _quiet_transformers()
    found = bench.run(rows, schema, encoder=options.encoder, rounds=options.rounds, progress=_show)
    sys.stderr.write("\n")
    _answer(found)
    return 0


def _predicted(predictor: Predictor, rows: Sequence[Example]) -> Iterator[str]:
    for row, prediction in zip(rows, predictor.predict([row.text for row in rows]), strict=True):
        heads = {key: answer.as_json() for key, answer in prediction.items()}
        yield json.dumps({"id": row.id, "heads": heads}, ensure_ascii=False)


def _answer(found: object) -> None:
    sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")


def _show(progress: Progress) -> None:
    """Draw a bar on the error stream, which keeps the output stream for the answer."""
    filled = BAR_WIDTH * progress.done // max(1, progress.total)
    loss = f"  loss {progress.loss:.3f}" if progress.loss is not None else ""
    bar = "#" * filled + "." * (BAR_WIDTH - filled)
    sys.stderr.write(f"\r{progress.phase:8} [{bar}] {progress.done}/{progress.total}{loss}   ")
    sys.stderr.flush()


def _quiet_transformers() -> None:
    """Keep its own bars and reports off the error stream."""
    from transformers.utils import logging  # noqa: PLC0415 - takes seconds, and wrong arguments need no encoder

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def _strategies() -> str:
    lines = [f"  {name:18}{strategy.about}" for name, strategy in strategies.STRATEGIES.items()]
    return "\n".join([f"strategies (default {strategies.DEFAULT}), each asks about the cases that are:", *lines])


def _counts(value: str) -> list[int]:
    """Read numbers that are separated by commas."""
    try:
        return [int(part) for part in value.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{value!r} is no list of whole numbers; expected N or N,N,...") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ml", description="Train, evaluate and use models of case texts.")
    commands = parser.add_subparsers(dest="command", required=True)
    learning = _learning()
    train = commands.add_parser("train", parents=[learning], help="learn a model from labelled examples")
    train.add_argument("--out", required=True, help="folder to write; must not exist")
    train.add_argument(
        "--from", dest="begin_with", metavar="DIR", help="model folder whose tuned encoder to go on from"
    )
    train.add_argument("--mlflow", metavar="URI", default="", help="MLflow server that takes a record of the run")
    validate = commands.add_parser(
        "cross-validate", parents=[learning], help="measure what training gives, in folds; prints one JSON object"
    )
    errors = commands.add_parser(
        "label-errors", parents=[learning], help="list labels that are probably wrong, one JSON object a line"
    )
    for command in (validate, errors):
        command.add_argument("--folds", type=int, choices=range(2, 21), metavar="2-20", default=5)
    evaluate = commands.add_parser("evaluate", help="measure a model on labelled examples; prints one JSON object")
    evaluate.add_argument("--model", required=True, help="model folder")
    evaluate.add_argument("--data", required=True, help="Example JSONL file")
    predict = commands.add_parser("predict", help="answer examples from standard input, one JSON object a line")
    predict.add_argument("--model", required=True, help="model folder")
    published = commands.add_parser("import-checkpoint", help="serve a published four-head helpline classifier")
    published.add_argument("folder", metavar="DIR", help="its folder: weights, config.json, tokenizer, names")
    published.add_argument("--out", help="folder to write; must not exist (default DIR-served)")
    published.add_argument("--schema", help="name of a shipped schema, or a TOML file (default: made from its names)")
    published.add_argument("--data", help="Example JSONL file to calibrate and measure on")
    compare = commands.add_parser("compare", help="measure quality beside TF-IDF; prints one JSON object")
    compare.add_argument("--data", required=True, nargs="+", help="Example JSONL files; each has a model of its own")
    compare.add_argument("--schema", default="helpline", help="name of a shipped schema, or a TOML file")
    compare.add_argument("--profile", choices=PROFILES, default="fast")
    compare.add_argument("--encoder", default=PACKAGED, help="name or folder of a Hugging Face encoder")
    compare.add_argument("--seed", type=int, default=0)
    simulate = commands.add_parser(
        "simulate",
        help="measure what an order of asking teaches; prints one JSON object",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_strategies(),
    )
    simulate.add_argument("--schema", required=True, help="name of a shipped schema, or a TOML file")
    simulate.add_argument("--pool", required=True, help="Example JSONL file of the cases that may be asked, labelled")
    simulate.add_argument("--test", required=True, help="Example JSONL file to measure on")
    simulate.add_argument("--strategy", metavar="NAME", default=strategies.DEFAULT, help="one of the list below")
    simulate.add_argument("--budget", metavar="N[,N...]", type=_counts, required=True, help="cases labelled in all")
    simulate.add_argument("--batch", type=int, help="cases between two trainings (default a tenth of the budget)")
    simulate.add_argument("--encoder", default=PACKAGED, help="name or folder of a Hugging Face encoder")
    simulate.add_argument("--seed", type=int, default=0)
    simulate.add_argument("--cache", default=str(CACHE), help=f"folder that keeps what encoders gave (default {CACHE})")
    bench = commands.add_parser("bench", help="compare speed with the reference path; prints one JSON object")
    bench.add_argument("--data", required=True, help="Example JSONL file")
    bench.add_argument("--schema", default="helpline", help="name of a shipped schema, or a TOML file")
    bench.add_argument("--encoder", default=PACKAGED, help="name or folder of a Hugging Face encoder")
    bench.add_argument("--rounds", type=int, choices=range(1, 10), default=3, help="more are slower and steadier")
    return parser


def _learning() -> argparse.ArgumentParser:
    """Return the options of every command that trains."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--schema", required=True, help="name of a shipped schema, or a TOML file")
    parser.add_argument("--data", required=True, help="Example JSONL file")
    parser.add_argument("--profile", choices=PROFILES, default="fast")
    parser.add_argument("--encoder", help=f"name or folder of a Hugging Face encoder (default {PACKAGED})")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", default=str(CACHE), help=f"folder that keeps what encoders gave (default {CACHE})")
    return parser


COMMANDS = {
    "train": _train,
    "cross-validate": _cross_validate,
    "label-errors": _label_errors,
    "evaluate": _evaluate,
    "predict": _predict,
    "import-checkpoint": _import_checkpoint,
    "compare": _compare,
    "simulate": _simulate,
    "bench": _bench,
}

if __name__ == "__main__":
    sys.exit(main())
