"""The command line: python -m ml train | evaluate | predict. Exit code 2: wrong arguments or files."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from ml import encoder as encoders
from ml import examples, metrics, registry, training
from ml import schema as schemas
from ml.encoder import EncoderError
from ml.examples import ExamplesError
from ml.predictor import Predictor
from ml.registry import ModelFolderError
from ml.schema import SchemaError
from ml.training import Progress, TrainConfig, TrainingError
from ml.types import Example

LINES_AT_ONCE = 512  # Of a stream to predict: enough to sort by length, few enough to answer while reading on
BAR_WIDTH = 30

WRONG = (EncoderError, ExamplesError, ModelFolderError, SchemaError, TrainingError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = _parser().parse_args(arguments)
    _quiet_transformers()
    try:
        return {"train": _train, "evaluate": _evaluate, "predict": _predict}[options.command](options)
    except WRONG as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 2


def _train(options: argparse.Namespace) -> int:
    if Path(options.out).exists():
        raise ModelFolderError(f"{options.out} exists already; models are never overwritten")
    if options.profile == "full":
        raise TrainingError("--profile full is not available in this version; expected fast")
    schema = schemas.load(options.schema)
    rows = examples.read(options.data, schema)
    training.learnable(schema, rows)  # Before the encoder is loaded, which takes seconds
    encoder = encoders.load(options.encoder)
    config = TrainConfig(profile=options.profile, seed=options.seed)
    trained = training.train(rows, schema, config, encoder=encoder, progress=_show)
    sys.stderr.write("\n")
    manifest = registry.save(trained, options.out, data_hash=registry.hash_of(rows))
    _answer({"model": options.out, "counts": manifest["counts"], "metrics": manifest["metrics"]})
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    predictor = Predictor(options.model)
    rows = examples.read(options.data, predictor.schema)
    predictions = predictor.predict([row.text for row in rows], progress=_show)
    sys.stderr.write("\n")
    _answer({"heads": metrics.evaluate(predictor.schema, rows, predictions)})
    return 0


def _predict(options: argparse.Namespace) -> int:
    predictor = Predictor(options.model)
    sys.stdin.reconfigure(encoding="utf-8-sig")  # type: ignore[union-attr]
    found = examples.scan(sys.stdin, predictor.schema)
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ml", description="Train, evaluate and use models of case texts.")
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="learn a model from labelled examples")
    train.add_argument("--schema", required=True, help="name of a shipped schema, or a TOML file")
    train.add_argument("--data", required=True, help="Example JSONL file")
    train.add_argument("--out", required=True, help="folder to write; must not exist")
    train.add_argument("--profile", choices=("fast", "full"), default="fast")
    train.add_argument("--encoder", default=encoders.PACKAGED, help="name or folder of a Hugging Face encoder")
    train.add_argument("--seed", type=int, default=0)
    evaluate = commands.add_parser("evaluate", help="measure a model on labelled examples; prints one JSON object")
    evaluate.add_argument("--model", required=True, help="model folder")
    evaluate.add_argument("--data", required=True, help="Example JSONL file")
    predict = commands.add_parser("predict", help="answer examples from standard input, one JSON object a line")
    predict.add_argument("--model", required=True, help="model folder")
    return parser


if __name__ == "__main__":
    sys.exit(main())
