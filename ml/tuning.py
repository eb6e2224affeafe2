"""The full profile: the encoder's upper layers learn with the heads, from where the fast profile left them.

Heads that fit the frozen encoder come first, because tuning an encoder under heads that know nothing spoils what it
knew (Kumar et al. 2022, Fine-Tuning can Distort Pretrained Features). Made cheap for processors without a GPU:

- the layers below stay as they are, so that their output is computed once and read from a file ever after;
- batches hold texts of similar length, so that little is computed on padding;
- matrices are multiplied in bfloat16 where the processor does so natively, and weights kept in float32.
"""

from __future__ import annotations

import contextlib
import copy
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ml import frozen, pieces, targets
from ml import model as models
from ml.config import TrainConfig
from ml.encoder import BATCH_TOKENS, Encoder, fastest_dtype, gather, mean_of
from ml.held_out import HeldOut, Outcome, Tags, Watch
from ml.model import CaseModel
from ml.pieces import Pieces, Windows
from ml.progress import OnProgress, Progress
from ml.savepoint import Course, Savepoints

SORTED_AT_ONCE = 16  # Batches whose texts are sorted by length together: chance enough, and little padding
LARGEST_GRADIENT = 1.0


@dataclass(frozen=True)
class Upper:
    """The layers of an encoder that are tuned, fed with what the layers below them gave."""

    network: nn.Module
    feed: Feed
    layers: Sequence[nn.Module]
    depth: int  # How many layers stay as they are

    @classmethod
    def above(cls, encoder: Encoder, count: int) -> Upper:
        """Copy the uppermost layers of an encoder, in float32."""
        network = copy.deepcopy(encoder.network).float()
        layers = replace(encoder, network=network).layers
        depth = len(layers) - min(count, len(layers))
        tuned = list(layers[depth:])
        feed = Feed(is_tuple=_gives_tuples(encoder))
        del layers[:]
        layers.extend([feed, *tuned])
        for name, module in network.named_modules():
            if hasattr(module, "p") and isinstance(module, nn.Dropout) and "attention.self" in name:
                module.p = 0.0  # Attention without dropout runs in one fused kernel
        network.requires_grad_(False)
        for layer in tuned:
            layer.requires_grad_(True)
        return cls(network, feed, tuned, depth)

    @property
    def weights(self) -> list[nn.Parameter]:
        """All that is tuned."""
        return [weight for layer in self.layers for weight in layer.parameters()]

    def forward(self, states: Tensor, windows: Windows) -> Tensor:
        """Run the layers: states (N, T, W) of the windows to vectors of the texts, (B, T, W)."""
        self.feed.states = states
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=fastest_dtype() == torch.bfloat16):
            hidden = self.network(
                input_ids=torch.from_numpy(windows.ids), attention_mask=torch.from_numpy(windows.mask)
            ).last_hidden_state
        return gather(hidden, windows)

    def put_into(self, encoder: Encoder) -> Encoder:
        """Return an encoder with these layers in the place of its own."""
        names = {id(weights): name for name, weights in encoder.network.named_parameters()}
        own = [weights for layer in encoder.layers[self.depth :] for weights in layer.parameters()]
        tuned = [weights.detach() for weights in self.weights]
        return encoder.tuned_with({names[id(old)]: new for old, new in zip(own, tuned, strict=True)})


class Feed(nn.Module):
    """Stands where the lower layers stood, and gives what they once gave."""

    states: Tensor

    def __init__(self, *, is_tuple: bool) -> None:
        super().__init__()
        self.is_tuple = is_tuple

    def forward(self, *_: Any, **__: Any) -> Tensor | tuple[Tensor]:
        """Return the states, whatever comes in."""
        return (self.states,) if self.is_tuple else self.states


@dataclass(frozen=True)
class States:
    """What the lower layers gave for the windows of each text: (T, W) each, one after another in a file."""

    vectors: NDArray[np.float16]
    ranges: list[list[tuple[int, int]]]  # Of each text's windows

    def batch(self, rows: Sequence[int], width: int) -> Tensor:
        """Return the states of the windows of some texts, padded to `width`: (N, T, W)."""
        ranges = [part for row in rows for part in self.ranges[row]]
        found = torch.zeros(len(ranges), width, self.vectors.shape[1], dtype=fastest_dtype())
        for at, (start, stop) in enumerate(ranges):
            found[at, : stop - start] = torch.from_numpy(self.vectors[start:stop])
        return found


def tune(
    network: CaseModel,
    encoder: Encoder,
    out: HeldOut,
    begun: Outcome,
    config: TrainConfig,
    tell: OnProgress,
    *,
    saves: Savepoints | None = None,
    goes_on: bool = False,
) -> tuple[Encoder, Outcome]:
    """Train the upper layers and the heads together, and leave them as they were at the epoch that was best.

    Args:
        network: heads of one copy, trained on the frozen encoder.
        begun: what they say there; it stands if no epoch is better.
        saves: where savepoints are written.
        goes_on: go on from the savepoint that is there.

    Returns:
        The encoder with its new weights, or as it was, and what the model says of the rows.

    Raises:
        EncoderError: the encoder is built in a way that cannot be tuned.
        SavepointError: there is no savepoint to go on from, or it is one of another training.
    """
    upper = Upper.above(encoder, config.tune_layers)
    with tempfile.TemporaryDirectory(prefix="caseloop-tuning-") as folder:
        states = below(encoder, upper.depth, out.pieces, Path(folder), tell)
        tuning = Tuning(network, encoder, upper, states, out, config)
        return tuning.run(begun, tell, saves, goes_on=goes_on)


@dataclass(frozen=True)
class Tuning:
    """All that a step of tuning needs."""

    network: CaseModel
    encoder: Encoder
    upper: Upper
    states: States
    out: HeldOut
    config: TrainConfig

    def run(
        self, begun: Outcome, tell: OnProgress, saves: Savepoints | None = None, *, goes_on: bool = False
    ) -> tuple[Encoder, Outcome]:
        """Train until the held-out rows get no better, or the epochs are over."""
        out, config = self.out, self.config
        weights = [
            target.weights(~out.is_out, balance=config.balance, heaviest=config.heaviest) for target in out.pooled
        ]
        tasks = [[row for row in task if not out.is_out[0, row]] for task in targets.tasks([*out.pooled, *out.tagged])]
        steps = config.tune_epochs * sum(-(-len(task) // config.tune_batch_size) for task in tasks)
        course = self._begin(begun, steps)
        at_first = frozen.copy_of(self.network)
        if saves and goes_on:
            saves.read(course)
        while course.epoch <= config.tune_epochs:
            self._learn(course, tasks, weights, steps, tell, saves)
            found = self._measure(course.epoch)
            tell(Progress("tune", course.done, steps, found.loss, found.figures, course.epoch))
            if course.watch.sees(found):
                course.kept = frozen.copy_of(course.both)
            elif course.watch.is_over_at(course.epoch) and course.kept is not None:
                break
            course.epoch, course.order, course.at = course.epoch + 1, [], 0
            if saves:
                saves.write(course)
        best = course.watch.best
        if course.kept is None:
            self.network.load_state_dict(at_first)
            return self.encoder, begun
        course.both.load_state_dict(course.kept)
        frozen.take_out_weights(self.network, out, best, config)
        return self.upper.put_into(self.encoder), best

    def _begin(self, begun: Outcome, steps: int) -> Course:
        config = self.config
        groups: list[dict[str, Any]] = [
            {"params": self.upper.weights},
            {"params": list(self.network.parameters()), "lr": config.tune_head_rate, "weight_decay": 0.0},
        ]
        optimiser = torch.optim.AdamW(groups, lr=config.tune_rate, weight_decay=config.tune_decay)
        schedule = frozen.schedule(optimiser, steps, config.warm_up)
        both = nn.ModuleList([self.upper.network, self.network])
        return Course(both, optimiser, schedule, Watch(begun, patience=config.tune_patience))

    def _learn(
        self,
        course: Course,
        tasks: Sequence[Sequence[int]],
        weights: Sequence[Tensor],
        steps: int,
        tell: OnProgress,
        saves: Savepoints | None,
    ) -> None:
        """Learn from the batches of an epoch, or from those that are left of one."""
        course.both.train()
        course.order = course.order or list(self._batches(tasks))
        for rows in course.order[course.at :]:
            loss = self._loss(rows, weights)
            course.optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(course.both.parameters(), LARGEST_GRADIENT)
            course.optimiser.step()
            course.schedule.step()
            course.at, course.done = course.at + 1, course.done + 1
            tell(Progress("tune", course.done, steps, float(loss.detach()), course.watch.best.figures))
            if saves and saves.is_due:
                saves.write(course)
        course.both.eval()

    def _batches(self, tasks: Sequence[Sequence[int]]) -> Iterator[list[int]]:
        """Yield the batches of an epoch, each of one task and of texts of similar length, in random order."""
        size = self.config.tune_batch_size
        found: list[list[int]] = []
        for task in tasks:
            found += batches(task, size, self._length)
        for at in torch.randperm(len(found)).tolist():
            yield found[at]

    def _length(self, row: int) -> int:
        return len(self.out.pieces[row].ids)

    def _read(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Run the encoder on some texts: (B, T, W), and which word pieces are real, (B, T)."""
        windows = self.encoder.windows([self.out.pieces[row] for row in rows])
        tokens = self.upper.forward(self.states.batch(rows, windows.ids.shape[1]), windows)
        return tokens.float(), torch.from_numpy(windows.is_real)

    def _answer(self, tokens: Tensor, mask: Tensor) -> dict[str, Tensor]:
        phrases, is_real = models.phrases_of(tokens, mask)
        likeness = self.network.likeness(mean_of(tokens, mask), phrases, is_real)
        return self.network.answer(phrases, is_real, likeness)[0]

    def _tag(self, tokens: Tensor, rows: Sequence[int]) -> dict[str, Tensor]:
        cut = [self.out.pieces[row] for row in rows]
        firsts, shapes = models.word_inputs([self.out.examples[row].text for row in rows], cut)
        return self.network.tag(models.words_of(tokens, firsts), shapes)

    def _loss(self, rows: list[int], weights: Sequence[Tensor]) -> Tensor:
        """Return the mean loss of a case of one task, over the heads that the task labels."""
        out, config = self.out, self.config
        tokens, mask = self._read(rows)
        total = torch.zeros(())
        chosen = torch.tensor(rows)
        pairs = zip(out.pooled, weights, strict=True)
        pooled = [(target, weight) for target, weight in pairs if target.teaches[rows].any()]
        if pooled:
            scores = self._answer(tokens, mask)
            for target, weight in pooled:
                lost = target.lost(scores[target.head.key], chosen, weight, ~out.is_out)  # (1, B)
                total = total + lost.sum() / len(rows) + frozen.penalty_of(self.network, target, config)
        tagged = [target for target in out.tagged if target.teaches[rows].any()]
        if tagged:
            tags = self._tag(tokens, rows)
            for span_target in tagged:
                total = total + span_target.loss(tags[span_target.head.key], rows, ~out.is_out[0])
        return total

    def _measure(self, epoch: int) -> Outcome:
        """Score the held-out rows, and measure them."""
        out = self.out
        n_rows = len(out.examples)
        logits = {target.head.key: torch.zeros(1, n_rows, len(models.outputs_of(target.head))) for target in out.pooled}
        tags: dict[str, Tags] = {target.head.key: {} for target in out.tagged}
        tagged = {target.head.key: set(out.tagged_rows(target)) for target in out.tagged}
        held = out.is_out[0].nonzero().flatten().tolist()
        for chosen in pieces.batches([out.pieces[row] for row in held], BATCH_TOKENS):
            rows = [held[at] for at in chosen]
            with torch.no_grad():
                tokens, mask = self._read(rows)
                for key, scores in self._answer(tokens, mask).items():
                    logits[key][:, rows] = scores
                if any(tagged.values()):
                    for key, scores in self._tag(tokens, rows).items():
                        tags[key] |= {
                            row: scores[at, : len(out.pieces[row].words)].numpy()
                            for at, row in enumerate(rows)
                            if row in tagged[key]
                        }
        return out.measure(epoch, logits, tags)


def batches(rows: Sequence[int], size: int, length: Callable[[int], int]) -> list[list[int]]:
    """Part rows at random into batches of similar length."""
    found = []
    shuffled = [rows[at] for at in torch.randperm(len(rows)).tolist()]
    for start in range(0, len(shuffled), size * SORTED_AT_ONCE):
        part = sorted(shuffled[start : start + size * SORTED_AT_ONCE], key=length)
        found += [part[at : at + size] for at in range(0, len(part), size)]
    return found


class _Reached(Exception):
    """The layers below have run; what comes above is not needed."""


def _gives_tuples(encoder: Encoder) -> bool:
    """Whether the layers of an encoder give a tuple, or the hidden states themselves."""
    seen: list[bool] = []
    handle = encoder.layers[-1].register_forward_hook(lambda _, __, output: seen.append(isinstance(output, tuple)))
    try:
        replace(encoder, cache=None).means(["a"])
    finally:
        handle.remove()
    return seen[0]


def below(encoder: Encoder, depth: int, cut: Sequence[Pieces], folder: Path, tell: OnProgress) -> States:
    """Run the layers that stay as they are over all texts, once."""
    found: list[Tensor] = []

    def reach(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        found.append(args[0] if args else kwargs["hidden_states"])
        raise _Reached

    ranges: list[list[tuple[int, int]]] = [[] for _ in cut]
    lengths = [encoder.windows([one]).mask.sum(axis=1).tolist() for one in cut]
    at = 0
    for row, parts in enumerate(lengths):
        for length in parts:
            ranges[row].append((at, at + length))
            at += length
    vectors = np.memmap(folder / "states", dtype=np.float16, mode="w+", shape=(at, encoder.width))
    (
        folder / "states"
    ).unlink()  # Its mapping holds it open: a process that is killed leaves nothing of the texts behind
    states = States(vectors, ranges)
    handle = encoder.layers[depth].register_forward_pre_hook(reach, with_kwargs=True)
    done = 0
    try:
        for rows in pieces.batches(cut, BATCH_TOKENS):
            windows = encoder.windows([cut[row] for row in rows])
            with torch.inference_mode(), contextlib.suppress(_Reached):
                encoder.network(input_ids=torch.from_numpy(windows.ids), attention_mask=torch.from_numpy(windows.mask))
            hidden = found.pop().half().numpy()
            for window, (start, stop) in enumerate(part for row in rows for part in ranges[row]):
                vectors[start:stop] = hidden[window, : stop - start]
            done += len(rows)
            tell(Progress("lower layers", done, len(cut)))
    finally:
        handle.remove()
    return states
