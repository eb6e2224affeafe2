"""Savepoints: what a tuning writes down as it goes, so that one whose process died can be gone on from.

One file, replaced as a whole: tensors as safetensors, the rest as JSON in its head. Gone on from there, with the same
rows, configuration and encoder, a training gives what it would have given in one go.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ml import examples
from ml.config import TrainConfig
from ml.errors import InputError
from ml.held_out import Outcome, Watch
from ml.registry import SAVEPOINT
from ml.schema import Schema
from ml.types import Example

FORMAT = "1"  # Another number when an older program could misread a newer file
EVERY_SECONDS = 60.0  # Between two of an epoch; its end is always written


class SavepointError(InputError):
    """There is no savepoint to go on from, or it is one of another training."""


@dataclass
class Course:
    """How far a tuning is: all that changes while it learns."""

    both: nn.ModuleList  # The encoder's layers, and the heads
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LambdaLR
    watch: Watch
    kept: dict[str, Tensor] | None = None  # The weights at the best epoch
    epoch: int = 1
    order: list[list[int]] = field(default_factory=list)  # The batches of this epoch; empty before it begins
    at: int = 0  # Batches of them that are learnt from
    done: int = 0  # Batches of all epochs


@dataclass
class Savepoints:
    """Where a training writes its savepoints, and for what rows, schema, configuration and encoder they hold."""

    folder: Path
    digest: str
    every_seconds: float = EVERY_SECONDS
    _written: float = field(default_factory=time.monotonic)

    @property
    def is_due(self) -> bool:
        """Whether the last one is old enough."""
        return time.monotonic() - self._written >= self.every_seconds

    def write(self, course: Course) -> None:
        """Write down how far a tuning is, in the place of what was written before."""
        tensors = {"random": torch.get_rng_state()}
        changing = {name for name, weights in course.both.named_parameters() if weights.requires_grad}
        for moment, weights in (("now", course.both.state_dict()), ("best", course.kept or {})):
            tensors |= {f"{moment}/{name}": value for name, value in weights.items() if name in changing}
        learnt = course.optimiser.state_dict()["state"]
        tensors |= {f"adam/{at}/{name}": value for at, found in learnt.items() for name, value in found.items()}
        best = course.watch.best
        tensors |= {f"logits/{key}": scores for key, scores in best.logits.items()}
        for key, tags in best.tags.items():
            tensors |= {f"tags/{key}/{row}": torch.from_numpy(scores) for row, scores in tags.items()}
        facts = {
            "schedule": {key: value for key, value in course.schedule.state_dict().items() if key != "lr_lambdas"},
            "kept": course.kept is not None,
            "place": [course.epoch, course.order, course.at, course.done],
            "watch": [course.watch.highest, course.watch.moved],
            "best": [best.epoch, list(best.tags), best.loss, dict(best.figures)],
        }
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # Weights tell something of the texts
        draft = self.folder / f".{SAVEPOINT}"
        whole = {name: value.detach().clone().contiguous() for name, value in tensors.items()}
        save_file(whole, draft, metadata={"format": FORMAT, "digest": self.digest, "facts": json.dumps(facts)})
        draft.replace(self.folder / SAVEPOINT)
        self._written = time.monotonic()

    def check(self) -> None:
        """Refuse what cannot be gone on from.

        Raises:
            SavepointError: there is no savepoint, it cannot be read, or it is one of another training.
        """
        with self._opened():
            pass

    def read(self, course: Course) -> None:
        """Put a tuning that is about to begin where the savepoint was written.

        Raises:
            SavepointError: as `check`.
        """
        with self._opened() as file:
            facts = json.loads(file.metadata()["facts"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dictionary
        torch.set_rng_state(tensors["random"])
        course.both.load_state_dict({**course.both.state_dict(), **_below(tensors, "now")})
        if facts["kept"]:
            course.kept = {**course.both.state_dict(), **_below(tensors, "best")}
        learnt: dict[int, dict[str, Tensor]] = {}
        for name, value in _below(tensors, "adam").items():
            at, _, what = name.partition("/")
            learnt.setdefault(int(at), {})[what] = value
        course.optimiser.load_state_dict({**course.optimiser.state_dict(), "state": learnt})
        course.schedule.load_state_dict({**course.schedule.state_dict(), **facts["schedule"]})
        for group, rate in zip(course.optimiser.param_groups, course.schedule.get_last_lr(), strict=True):
            group["lr"] = rate
        epoch, tagged, loss, figures = facts["best"]
        tags: dict[str, Any] = {key: {} for key in tagged}
        for name, value in _below(tensors, "tags").items():
            key, _, row = name.rpartition("/")
            tags[key][int(row)] = value.numpy()
        course.watch.best = Outcome(epoch, _below(tensors, "logits"), tags, loss, figures)
        course.watch.highest, course.watch.moved = facts["watch"]
        course.epoch, course.order, course.at, course.done = facts["place"]

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Any]:
        path = self.folder / SAVEPOINT
        try:
            with safe_open(path, framework="pt") as file:
                head = file.metadata() or {}
                if head.get("format") != FORMAT:
                    raise SavepointError(f"{path} has format {head.get('format')!r}; this version reads {FORMAT}")
                if head.get("digest") != self.digest:
                    raise SavepointError(
                        f"{path} is of another training: rows, labels, schema, configuration or encoder are others; "
                        "train anew"
                    )
                yield file
        except (OSError, SafetensorError) as exc:
            raise SavepointError(f"{path} is no savepoint that can be read; train anew") from exc


def digest_of(
    rows: Sequence[Example], n_validation: int, schema: Schema, config: TrainConfig, weights: Sequence[str]
) -> str:
    """Return the SHA-256 of all that decides what a training gives; `weights` are those it begins with, by hash."""
    found = hashlib.sha256(json.dumps([n_validation, schema.digest, config.as_json(), list(weights)]).encode())
    for row in rows:
        found.update(examples.write(row).encode() + b"\n")
    return found.hexdigest()


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) + 1 :]: value for name, value in tensors.items() if name.startswith(f"{prefix}/")}
