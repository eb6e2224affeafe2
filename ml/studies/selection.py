"""What choosing cases is worth beside asking at random, and how well spoilt labels are found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from statistics import mean, stdev

import numpy as np

from ml import folds, label_errors, simulation
from ml.config import TrainConfig
from ml.sampling import strategies
from ml.studies.lab import BANKING_TEST, BANKING_TRAIN, Found, Lab, Study
from ml.types import Example

SEEDS = 5
BATCH = 77
TO_BEGIN_WITH = 10  # Examples of each intent, where the pool has that many of all
EVEN_BUDGETS = (847, 1001, 1155, 1386)
LONG_TAIL = (100, 3)  # Cases of the commonest intent and of the rarest
TAILED_BUDGETS = (154, 308, 462, 770)
RANDOM = "random"
SPOILT = 0.1  # Share of the labels
ERRORS_WANTED = 2.0  # Standard errors by which the default is to be better


def _even(lab: Lab, seed: int) -> tuple[list[Example], list[int]]:
    """Return all questions, and the positions of ten of each intent."""
    rows = lab.banking(BANKING_TRAIN)[1]
    left = dict.fromkeys({str(row.labels["intent"]) for row in rows}, TO_BEGIN_WITH)
    begun = []
    for at in np.random.default_rng(seed).permutation(len(rows)).tolist():
        label = str(rows[at].labels["intent"])
        if left[label]:
            left[label] -= 1
            begun.append(at)
    return rows, begun


def _tailed(lab: Lab, seed: int) -> tuple[list[Example], list[int]]:
    """Return a part of the questions with some intents common and others rare; nothing is labelled to begin with."""
    rows = lab.banking(BANKING_TRAIN)[1]
    rng = np.random.default_rng(seed)
    intents = sorted({str(row.labels["intent"]) for row in rows})
    sizes = np.geomspace(*LONG_TAIL, len(intents)).round().astype(int)
    left = dict(zip(rng.permutation(intents).tolist(), sizes.tolist(), strict=True))
    pool = []
    for at in rng.permutation(len(rows)).tolist():
        label = str(rows[at].labels["intent"])
        if left[label]:
            left[label] -= 1
            pool.append(rows[at])
    return pool, []


POOLS = {"even": (_even, EVEN_BUDGETS), "tailed": (_tailed, TAILED_BUDGETS)}


def _curve(pool: str, strategy: str, seed: int, lab: Lab) -> Found:
    draw, budgets = POOLS[pool]
    schema = lab.banking(BANKING_TRAIN)[0]
    rows, begun = draw(lab, seed)
    found = simulation.run(
        rows,
        lab.banking(BANKING_TEST)[1],
        schema,
        strategy=strategy,
        budgets=budgets,
        encoder=lab.encoder,
        config=TrainConfig(seed=seed),
        begun=begun,
        batch=BATCH,
        exports=lab.exports,
        progress=lab.tell,
    )
    heads = [{"labelled": point["labelled"], **point["heads"]["intent"]} for point in found["curve"]]
    return {"curve": [{key: head[key] for key in ("labelled", "accuracy", "macro_f1")} for head in heads]}


def _selection(found: Mapping[str, Found]) -> list[Found]:
    rows = []
    for pool, (_, budgets) in POOLS.items():
        for measure in ("accuracy", "macro_f1"):
            for at, budget in enumerate(budgets):
                ours, random = (
                    [found[name(pool, strategy, seed)]["curve"][at][measure] for seed in range(SEEDS)]
                    for strategy in (strategies.DEFAULT, RANDOM)
                )
                better = [one - other for one, other in zip(ours, random, strict=True)]
                error = standard_error(better)
                title = f"{measure.replace('_', ' ')}, {budget} labels, {pool} pool"
                row = {"figure": title, "found": mean(ours), "bar": mean(random) + ERRORS_WANTED * error}
                rows.append({**row, "beside": {"random": mean(random), "standard error of the difference": error}})
    return rows


def name(pool: str, strategy: str, seed: int) -> str:
    """Return what the part of one curve is called."""
    return f"selection-{pool}-{strategy}-{seed}"


def standard_error(values: Sequence[float]) -> float:
    """Return the standard error of the mean of some values, 2 or more."""
    return float(stdev(values) / math.sqrt(len(values)))


def _spoilt(lab: Lab) -> Found:
    """Give a tenth of the labels to other intents, and look how many of the most doubted are among them."""
    schema, rows = lab.banking(BANKING_TRAIN)
    rng = np.random.default_rng(0)
    spoilt = set(rng.choice(len(rows), round(SPOILT * len(rows)), replace=False).tolist())
    keys = schema.head("intent").keys
    given = [
        replace(row, labels={"intent": _other(keys, str(row.labels["intent"]), rng)}) if at in spoilt else row
        for at, row in enumerate(rows)
    ]
    answered = folds.answer(
        given, schema, TrainConfig(), encoder=lab.encoder, count=5, exports=lab.exports, progress=lab.tell
    )
    doubted = [error.id for error in label_errors.find(schema, answered)][: len(spoilt)]
    hits = len({rows[at].id for at in spoilt} & set(doubted))
    return {"precision": hits / max(1, len(doubted)), "recall": hits / len(spoilt), "doubted": len(doubted)}


def _other(keys: Sequence[str], key: str, rng: np.random.Generator) -> str:
    return str(rng.choice([other for other in keys if other != key]))


def _errors(found: Mapping[str, Found]) -> list[Found]:
    part = found["label-errors"]
    return [
        {"figure": f"{measure} of the most doubted tenth", "found": part[measure]}
        for measure in ("precision", "recall")
    ]


STUDIES = {
    "selection": Study(
        "Choosing cases beside asking at random",
        [BANKING_TRAIN, BANKING_TEST],
        {
            name(pool, strategy, seed): partial(_curve, pool, strategy, seed)
            for pool in POOLS
            for strategy in (strategies.DEFAULT, RANDOM)
            for seed in range(SEEDS)
        },
        _selection,
    ),
    "label-errors": Study("Labels that were spoilt on purpose", [BANKING_TRAIN], {"label-errors": _spoilt}, _errors),
}
