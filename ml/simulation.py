"""How much an order of asking teaches: the loop of choosing, labelling and training, on cases whose labels are known.

All texts are encoded once. A round trains as the loop does, and then runs the heads alone over the cases that are left.

Sizes as in `ml.sampling`: n cases of the pool, L labels, W the width of a vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ml import calibration, frozen, metrics, policy, served, training
from ml import model as models
from ml.calibration import Logits
from ml.config import TrainConfig
from ml.encoder import Encoder
from ml.errors import InputError
from ml.frozen import Cases
from ml.policy import Policy
from ml.progress import OnProgress, Progress, ignore
from ml.sampling import heads, novelty, strategies
from ml.sampling.strategies import Model, Pool
from ml.scales import Floats
from ml.schema import Kind, Schema
from ml.served import INT8
from ml.training import FEWEST_EXAMPLES, TrainedModel, TrainingError
from ml.types import Example, Prediction

ROUNDS = 10  # To the largest budget, where nothing is said of the size of a batch
TEXTS_AT_ONCE = 256  # That are scored together
MOST_SHOWN = 5  # Ids that a message names


class SimulationError(InputError):
    """What is asked for cannot be simulated on these cases; the message says what was found and what was expected."""


def run(
    pool: Sequence[Example],
    test: Sequence[Example],
    schema: Schema,
    *,
    strategy: str,
    budgets: Sequence[int],
    encoder: Encoder,
    config: TrainConfig | None = None,
    begun: Sequence[int] = (),
    batch: int | None = None,
    exports: Path | None = None,
    progress: OnProgress = ignore,
) -> dict[str, Any]:
    """Ask about cases in the order of a strategy, and measure what was learnt at each budget.

    Args:
        pool: labelled cases; nobody looks at a label before its case is asked.
        test: labelled cases that are never asked.
        strategy: a name of `strategies.STRATEGIES`.
        budgets: cases labelled in all, at which a model is measured.
        encoder: what `encoder.load` returned.
        config: of every training; its seed is that of every choice too, so that the same one gives the same curve.
        begun: positions of the cases of the pool that are labelled before anybody is asked.
        batch: cases that are asked between two trainings; without it, a tenth of the largest budget.
        exports: folder that keeps exported encoders.

    Returns:
        `strategy`, `seed`, `batch`, `pool` and `test`, the numbers of cases, and `curve`: for each budget `labelled`,
        `seen`, how many labels of each head with labels to choose from occur in the cases asked, and `heads`, what
        `metrics.evaluate` returns for the test cases.

    Raises:
        SimulationError: a case has no label, or a budget is too small or larger than the pool.
        strategies.SamplingError: there is no such strategy.
        training.TrainingError: the labels of a budget are too few for any head.
    """
    check(pool, test, strategy=strategy, budgets=budgets, batch=batch)
    if begun and min(budgets) <= len(begun):
        raise SimulationError(f"the smallest budget is {min(budgets)}; {len(begun)} cases are labelled to begin with")
    config, largest = config or TrainConfig(), max(budgets)
    batch = batch or -(-largest // ROUNDS)
    bench = _Bench.encode(pool, test, schema, encoder, config, exports, progress)
    rng = np.random.default_rng(config.seed)
    asked = list(begun)
    trained = bench.train_if_enough(asked) if begun and strategies.named(strategy).learns else None
    curve = []
    for stop in sorted({*range(len(asked) + batch, largest, batch), *budgets}):
        left = sorted(set(range(len(pool))) - set(asked))
        chosen = strategies.choose(strategy, bench.known(left, asked, trained), stop - len(asked), rng)
        asked += [left[at] for at in chosen]
        if stop in budgets:
            trained = bench.train(asked)
            curve.append({"labelled": stop, "seen": bench.seen(asked), "heads": bench.measure(trained)})
        elif strategies.named(strategy).learns:
            trained = bench.train_if_enough(asked)
        progress(Progress("simulate", stop, largest))
    sizes = {"batch": batch, "pool": len(pool), "test": len(test)}
    return {"strategy": strategy, "seed": config.seed, **sizes, "curve": curve}


def check(
    pool: Sequence[Example], test: Sequence[Example], *, strategy: str, budgets: Sequence[int], batch: int | None = None
) -> None:
    """Refuse what `run` cannot do, before anything is loaded.

    Raises: as `run`.
    """
    strategies.named(strategy)
    for name, rows in (("pool", pool), ("test set", test)):
        bare = [row.id for row in rows if not row.labels]
        if bare:
            more = ", ..." if len(bare) > MOST_SHOWN else ""
            raise SimulationError(
                f"the {name} has {len(bare)} case(s) without a label ({', '.join(bare[:MOST_SHOWN])}{more}); "
                "expected labels for each, since nobody is there to ask"
            )
    if not budgets or min(budgets) < FEWEST_EXAMPLES:
        raise SimulationError(f"the smallest budget is {min(budgets, default=0)}; a head learns from {FEWEST_EXAMPLES}")
    if max(budgets) > len(pool):
        raise SimulationError(f"the largest budget is {max(budgets)}; the pool has {len(pool)} cases")
    if batch is not None and batch < 1:
        raise SimulationError(f"the batch is {batch}; expected 1 or more")


@dataclass(frozen=True)
class _Bench:
    """All cases as they were encoded, the n of the pool before those of the test set.

    vectors: mean of each text of the pool, of length 1, (n, W).
    names: head and key of each label that a case may be compared with, (L,).
    likeness: of the pool to their definitions, in standard deviations, (n, L).
    labels: which of them each case of the pool has, (n, L).
    """

    schema: Schema
    pool: Sequence[Example]
    test: Sequence[Example]
    encoder: Encoder
    config: TrainConfig
    exports: Path | None
    policy: Policy
    cases: Cases
    vectors: Floats
    names: Sequence[tuple[str, str]]
    likeness: Floats
    labels: NDArray[np.bool_]

    @classmethod
    def encode(
        cls,
        pool: Sequence[Example],
        test: Sequence[Example],
        schema: Schema,
        encoder: Encoder,
        config: TrainConfig,
        exports: Path | None,
        progress: OnProgress,
    ) -> _Bench:
        """Encode all texts once."""
        ready = served.export(encoder, INT8, exports=exports)
        network = models.build(schema, training.learnable(schema, pool), ready)
        texts = [row.text for row in [*pool, *test]]
        tagged = set(range(len(texts))) if network.tagged_keys else set()
        cases = frozen.encode(network, ready, texts, ready.splitter.split(texts), tagged, progress, is_new=False)
        means = np.stack([phrases.double().mean(dim=0).numpy() for phrases in cases.phrases[: len(pool)]])
        compared = [head for head in network.heads if head.kind in (Kind.CHOICE, Kind.CHOICES)]
        names = [(head.key, key) for head in compared for key in head.keys]
        likeness = [_standard(cases.likeness[head.key][: len(pool)].double().numpy()) for head in compared]
        labels = [[key in metrics.items(row.labels.get(head, [])) for head, key in names] for row in pool]
        return cls(
            schema=schema,
            pool=pool,
            test=test,
            encoder=encoder,
            config=config,
            exports=exports,
            policy=Policy.default(schema),
            cases=cases,
            vectors=novelty.unit(means),
            names=names,
            likeness=np.concatenate([np.empty((len(pool), 0)), *likeness], axis=1),
            labels=np.array(labels, dtype=bool).reshape(len(pool), len(names)),
        )

    def train(self, asked: Sequence[int]) -> TrainedModel:
        """Train as the loop does on what was asked."""
        rows = [self.pool[at] for at in asked]
        return training.train(rows, self.schema, self.config, encoder=self.encoder, exports=self.exports)

    def train_if_enough(self, asked: Sequence[int]) -> TrainedModel | None:
        """Train, or return None where there is too little to learn from yet."""
        try:
            return self.train(asked)
        except TrainingError:
            return None

    def known(self, left: list[int], asked: list[int], trained: TrainedModel | None) -> Pool:
        """Return what a strategy may know: of the cases that are left no label, and of those asked all."""
        return Pool(
            schema=self.schema,
            vectors=self.vectors[left],
            asked=self.vectors[asked],
            likeness=self.likeness[left],
            seen=self.labels[asked].sum(axis=0),
            weights=heads.importance(self.schema, self.policy),
            model=self._model(left, trained) if trained is not None and left else None,
        )

    def seen(self, asked: Sequence[int]) -> dict[str, int]:
        """Return how many labels of each head occur in the cases asked."""
        found = {name for at in asked for name, has in zip(self.names, self.labels[at], strict=True) if has}
        return {head: sum(of == head for of, _ in found) for head in dict(self.names)}

    def measure(self, trained: TrainedModel) -> dict[str, Any]:
        """Measure a model on the test cases."""
        rows = list(range(len(self.pool), len(self.cases.phrases)))
        return metrics.evaluate(self.schema, self.test, self._predict(trained, self._score(trained, rows), rows))

    def _model(self, left: list[int], trained: TrainedModel) -> Model:
        logits = self._score(trained, left)

        def harm() -> Floats:
            found = self._predict(trained, logits, left)
            return np.array([policy.expected_harm(self.schema, self.policy, one) for one in found])

        return Model(
            beliefs=heads.believe(self.schema, logits, trained.calibration),
            harm=harm,
            skill={key: _skill(found) for key, found in trained.metrics.items()},
        )

    def _predict(self, trained: TrainedModel, logits: Logits, rows: Sequence[int]) -> list[Prediction]:
        words = [self.cases.pieces[row].words for row in rows]
        return calibration.predictions(self.schema, logits, trained.calibration, words=words)

    def _score(self, trained: TrainedModel, rows: Sequence[int]) -> dict[str, Any]:
        """Run the heads over some cases: raw scores, as `calibration.predictions` takes them."""
        network, cases = trained.network, self.cases
        found: dict[str, list[Any]] = {key: [] for key in network.keys}
        with torch.inference_mode():
            for at in range(0, len(rows), TEXTS_AT_ONCE):
                part = list(rows[at : at + TEXTS_AT_ONCE])
                scores, _ = network.answer(*cases.batch(torch.tensor(part)))
                for key, values in scores.items():
                    found[key].append(values[0].double().numpy())
                tags = cases.tags(network, part) if network.tagged_keys else {}
                for key, words in tags.items():
                    found[key] += [one.double().numpy() for one in words]
        return {key: values if key in network.tagged_keys else np.concatenate(values) for key, values in found.items()}


def _skill(measured: dict[str, Any]) -> float:
    """Return how far a head is on the way from always giving the commonest answer, 0, to perfect answers, 1."""
    reached, majority = measured.get("accuracy", measured.get("micro_f1")), measured["majority"]
    return float((reached - majority) / (1.0 - majority)) if majority < 1.0 else 0.0


def _standard(likeness: Floats) -> Floats:
    """Take likeness, (n, kinds, C), relative to what is usual for a label, and average its kinds: (n, C)."""
    spread = np.maximum(likeness.std(axis=0), models.FLATTEST)
    result: Floats = ((likeness - likeness.mean(axis=0)) / spread).mean(axis=1)
    return result
