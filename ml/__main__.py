"""The command line, python -m ml COMMAND; --help lists the commands. Exit code 2: wrong input."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ml.commands import measuring, serving, training
from ml.config import PROFILES
from ml.errors import InputError
from ml.leaks import REGION
from ml.pieces import PACKAGED
from ml.sampling import strategies

CACHE = Path("~/.cache/caseloop")
COMMANDS = {
    "train": training.train,
    "cross-validate": training.cross_validate,
    "label-errors": training.label_errors,
    "evaluate": measuring.evaluate,
    "predict": serving.predict,
    "import-checkpoint": serving.import_checkpoint,
    "surrogates": measuring.surrogates,
    "compare": measuring.compare,
    "simulate": measuring.simulate,
    "bench": measuring.bench,
    "learning": measuring.learning,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return COMMANDS[options.command](options)
    except InputError as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 2


def _strategies() -> str:
    lines = [f"  {name:18}{strategy.about}" for name, strategy in strategies.STRATEGIES.items()]
    return "\n".join([f"strategies (default {strategies.DEFAULT}), each asks about the cases that are:", *lines])


def _names(value: str) -> list[str]:
    return [part for part in value.split(",") if part]


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
    train.add_argument(
        "--teacher",
        type=_names,
        default=(),
        metavar="DIR[,DIR...]",
        help="model folders whose answers are learnt beside the labels",
    )
    train.add_argument(
        "--layers", type=int, metavar="N", help="of the encoder that are left; of a lone teacher's where there is one"
    )
    train.add_argument(
        "--resume", metavar="DIR", help="go on from the savepoint that a killed full training left in OUT-savepoints"
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
    surrogates = commands.add_parser(
        "surrogates", help="measure which names stay readable under surrogates; prints one JSON object"
    )
    surrogates.add_argument("--model", required=True, help="model folder")
    surrogates.add_argument("--data", required=True, help="Example JSONL file with entities that it did not learn from")
    surrogates.add_argument(
        "--labels", type=_names, metavar="LABEL[,LABEL...]", help="labels to hide (default those of names and places)"
    )
    surrogates.add_argument("--region", default=REGION, help=f"country of phone numbers (default {REGION})")
    predict = commands.add_parser("predict", help="answer examples from standard input, one JSON object a line")
    predict.add_argument("--model", required=True, help="model folder")
    more = predict.add_mutually_exclusive_group()
    more.add_argument(
        "--explain", action="store_true", help="tell which words each head looked at, as character ranges"
    )
    more.add_argument(
        "--conversations", action="store_true", help="answer the conversations that the examples are the messages of"
    )
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
    bench.add_argument("--model", help="model folder to serve; without it one is trained, and training measured too")
    bench.add_argument("--rounds", type=int, choices=range(1, 10), default=3, help="more are slower and steadier")
    learning = commands.add_parser("learning", help="do the studies of public data that are not done yet, and report")
    learning.add_argument("--data", required=True, metavar="DIR", help="folder of the data")
    learning.add_argument("--work", required=True, metavar="DIR", help="folder that keeps what is done")
    learning.add_argument("--out", required=True, metavar="FILE.md", help="page to write; JSON and SVG come beside it")
    learning.add_argument("studies", nargs="*", metavar="STUDY", help="some of them; without, all")
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


if __name__ == "__main__":
    sys.exit(main())
