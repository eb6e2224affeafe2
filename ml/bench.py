"""How fast Caseloop serves and trains, as ratios to the reference path of `ml.reference`, measured side by side.

Both sides take turns in rounds, two threads each, and the figures are medians over the rounds, so that a machine that
others use slows both alike. Each ratio is ours divided by the reference.

What is served is a model of the `full` profile with every head of the schema, exported and read back. It learns for one
epoch only, and where rows lack labels made-up ones fill the gaps (`labelled`): neither changes how long a step of
training or an answer takes. Up to 500 rows are used.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import DistilBertConfig

from ml import encoder as encoders
from ml import examples, export, training
from ml.cache import Cache
from ml.config import TrainConfig
from ml.errors import InputError
from ml.pieces import PACKAGED, Splitter
from ml.progress import OnProgress, Progress, ignore
from ml.reference import SERVED_TOKENS, TRAINED_AT_ONCE, Reference
from ml.registry import TOKENIZER
from ml.schema import Head, Kind, Schema
from ml.serving import Predictor
from ml.types import Answer, Example, Labels, Span

THREADS = 2
ROUNDS = 3
MOST_ROWS = 500
ALONE = 50  # Cases that are answered one at a time in each round
FEWEST_ROWS = 50  # Two steps of training at least, of which one is not counted
WARM_UP = 1  # Steps of training that are not counted, on either side
NAME = re.compile(r"\b[A-Z]\w+")

# A program begins with the peak memory of the process that starts it (Linux keeps it), so a small process comes between
BETWEEN = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"
SERVE = """
import json, resource, sys
from ml.serving import Predictor
Predictor(sys.argv[1], threads=int(sys.argv[2])).predict(json.load(sys.stdin))
if "torch" in sys.modules:
    sys.exit("expected a process that serves without torch, found that it is loaded")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def run(
    rows: Sequence[Example],
    schema: Schema,
    *,
    encoder: str = PACKAGED,
    rounds: int = ROUNDS,
    config: DistilBertConfig | None = None,
    progress: OnProgress = ignore,
) -> dict[str, Any]:
    """Train and serve as a user does, and the reference beside it.

    Args:
        rows: cases, with whatever labels they have.
        encoder: what `encoder.load` takes.
        rounds: in which the two sides take turns.
        config: sizes of the reference's encoder; those of DistilBERT without.

    Returns:
        What `python -m ml bench` prints: for `batch`, `batch_whole`, `single` and `training` our figure, the
        reference's and their ratio; the peak memory of a process that only serves, in MB of 2**20 bytes; the seconds
        that the fast profile takes on cases that it has seen before; the precision that the model is served in.

    Raises:
        InputError: there are fewer than 50 rows.
    """
    if len(rows) < FEWEST_ROWS:
        raise InputError(f"expected at least {FEWEST_ROWS} cases to measure on, found {len(rows)}")
    rows = [replace(row, labels=labelled(row, schema)) for row in rows[:MOST_ROWS]]
    texts = [row.text for row in rows]
    with tempfile.TemporaryDirectory(prefix="caseloop-bench-") as name, _threads(THREADS):
        folder = Path(name)
        reading = encoders.load(encoder, cache=Cache(folder / "cache" / "vectors"))
        reference = Reference(Tokenizer.from_str(reading.splitter.tokenizer.to_str()), config)
        turns = Turns(reference, texts, rounds, progress)
        turns.reference_step()
        tuned = TrainConfig(profile="full", tune_epochs=1, contrast_examples=0)
        exports = folder / "cache" / "exports"
        trained = training.train(rows, schema, tuned, encoder=reading, exports=exports, progress=turns)
        manifest = export.save(trained, folder / "model", progress=progress)
        return {
            **serving(folder / "model", texts, reference, rounds),
            "training": turns.figures(max(trained.counts["train"].values())),
            "peak_memory_mb": round(serve_alone(folder / "model", texts)),
            "fast_again_seconds": train_again(rows, schema, encoder, folder),
            "precision": manifest["export"]["precision"],
            "cases": len(rows),
        }


def serve(rows: Sequence[Example], model: str | Path, *, rounds: int = ROUNDS) -> dict[str, Any]:
    """Serve cases with a model folder and with the reference beside it.

    Raises:
        InputError: there are fewer than 50 rows, or the folder holds no model.
    """
    if len(rows) < FEWEST_ROWS:
        raise InputError(f"expected at least {FEWEST_ROWS} cases to measure on, found {len(rows)}")
    texts = [row.text for row in rows[:MOST_ROWS]]
    with _threads(THREADS):
        reference = Reference(Tokenizer.from_file(str(Path(model) / TOKENIZER)))
        found = serving(Path(model), texts, reference, rounds)
    return {**found, "peak_memory_mb": round(serve_alone(Path(model), texts)), "cases": len(texts)}


def serving(model: Path, texts: Sequence[str], reference: Reference, rounds: int) -> dict[str, dict[str, float]]:
    """Answer cases with a model folder and with the reference in turn: many at once, and one at a time."""
    ours = Predictor(model, threads=THREADS)
    cut = shortened(texts, Splitter.load(model / TOKENIZER, ours.manifest["encoder"]["max_tokens"]), SERVED_TOKENS)
    alone = list(islice(cycle(cut), ALONE))
    for text in alone[:5]:
        ours.predict([text])
        reference.answer(text)
    short: list[float] = []
    whole: list[float] = []
    single: list[list[float]] = []
    theirs: list[list[float]] = []
    for _ in range(rounds):
        short.append(_seconds(ours.predict, cut) / len(cut))
        single.append([_seconds(ours.predict, [text]) for text in alone])
        theirs.append([_seconds(reference.answer, text) for text in alone])
        whole.append(_seconds(ours.predict, texts) / len(texts))
    rate = 1 / median(map(mean, theirs))
    return {
        "batch": _compared("cases_per_second", 1 / median(short), rate),
        "batch_whole": _compared("cases_per_second", 1 / median(whole), rate),
        "single": _compared("milliseconds", *(1000 * median(map(median, side)) for side in (single, theirs))),
    }


@dataclass
class Turns:
    """Takes the time of each step of tuning as it is told, and lets the reference make a step after each round of them.

    ours: mean seconds of a step of each round. theirs: seconds of the reference's. below: seconds of the lower layers.
    """

    reference: Reference
    texts: Sequence[str]
    rounds: int
    progress: OnProgress
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    below: float = 0.0
    steps: int = 0
    _round: list[float] = field(default_factory=list)
    _last: float = field(default_factory=time.perf_counter)

    def __call__(self, told: Progress) -> None:
        """Count the time since the last call; other phases of the training are passed over."""
        seconds = time.perf_counter() - self._last
        if told.phase == "lower layers":
            self.below += seconds
        if told.phase == "tune" and told.done > self.steps:  # It tells again after measuring the held-out rows
            self.steps = told.done
            if self.steps > WARM_UP:
                self._round.append(seconds)
            if self._round and self.steps * self.rounds // told.total > len(self.theirs):
                self.ours.append(mean(self._round))
                self._round.clear()
                self.theirs.append(self.reference_step())
        self.progress(told)
        self._last = time.perf_counter()

    def reference_step(self) -> float:
        """Return the seconds that the reference takes for a batch."""
        return _seconds(self.reference.step, list(islice(cycle(self.texts), TRAINED_AT_ONCE)))

    def figures(self, n_rows: int) -> dict[str, float]:
        """Return the rates of both sides; `n_rows` is how many rows our steps learnt from, the last batch not full."""
        ours = n_rows / self.steps / median(self.ours)
        all_in = n_rows / (self.below + n_rows / ours)
        compared = _compared("rows_per_second", ours, TRAINED_AT_ONCE / median(self.theirs))
        return compared | {"rows_per_second_all_in": round(all_in, 3)}


def serve_alone(model: Path, texts: Sequence[str]) -> float:
    """Answer all texts in a process that does nothing else, and return its peak memory in MB of 2**20 bytes.

    Raises:
        subprocess.CalledProcessError: it could not, or it has loaded torch.
    """
    command = [sys.executable, "-c", BETWEEN, sys.executable, "-c", SERVE, str(model), str(THREADS)]
    done = subprocess.run(command, input=json.dumps(texts), stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


def train_again(rows: Sequence[Example], schema: Schema, encoder: str, folder: Path) -> float:
    """Return how many seconds the command line takes to train the fast profile on cases that the cache knows."""
    data, document, model = folder / "rows.jsonl", folder / f"{schema.name}.toml", folder / "fast"
    data.write_text("".join(f"{examples.write(row)}\n" for row in rows), encoding="utf-8")
    document.write_text(schema.document, encoding="utf-8")
    given = {"schema": document, "data": data, "out": model, "encoder": encoder, "cache": folder / "cache"}
    options = [word for key, value in given.items() for word in (f"--{key}", str(value))]
    command = [sys.executable, "-m", "ml", "train", *options]
    return round(_seconds(partial(subprocess.run, command, capture_output=True, check=True)), 2)


def labelled(row: Example, schema: Schema) -> Labels:
    """Return the labels of a row, with the same made-up answer for each head that it lacks."""
    found: Labels = {}
    for head in schema.heads:
        parent = found.get(head.parent) if head.parent else None
        found[head.key] = row.labels.get(head.key) or _made_up(head, parent, row.text)
    return found


def _made_up(head: Head, parent: Answer | None, text: str) -> Answer:
    """Return the first label that there is; names, as the first type of span; yes to every criterion."""
    if head.kind == Kind.SPANS:
        return [Span(start=one.start(), end=one.end(), label=head.labels[0].key) for one in NAME.finditer(text)]
    if head.kind == Kind.RUBRIC:
        return {group.key: {one.key: True for one in group.criteria} for group in head.groups}
    label = next(label for label in head.labels if label.parent in (None, parent))
    return label.key if head.kind == Kind.CHOICE else [label.key]


def shortened(texts: Sequence[str], splitter: Splitter, most: int) -> list[str]:
    """Cut each text after the last word that leaves it with at most `most` word pieces, special ones included."""
    found = []
    for text, cut in zip(texts, splitter.split(texts), strict=True):
        special = int((cut.spoken < 0).sum())
        pieces_so_far = np.cumsum(np.bincount(cut.spoken[cut.spoken >= 0], minlength=len(cut.words)))
        kept = int((pieces_so_far + special <= most).sum())
        found.append(text[: cut.words[kept - 1, 1]] if kept else text)
    return found


def _compared(name: str, ours: float, theirs: float) -> dict[str, float]:
    ours, theirs = round(ours, 3), round(theirs, 3)
    return {name: ours, f"reference_{name}": theirs, "ratio": round(ours / theirs, 4)}


def _seconds(work: Callable[..., object], *given: object) -> float:
    begun = time.perf_counter()
    work(*given)
    return time.perf_counter() - begun


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let torch compute with some threads, and then with as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
