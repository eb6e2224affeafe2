"""How good trainings are: on the helpline, with few labels, with all heads in one network, and with fewer layers."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import mean

from ml import baselines, bench, export, folds, metrics, training
from ml.config import TrainConfig
from ml.serving import Predictor
from ml.studies.lab import BANKING_TEST, BANKING_TRAIN, CASES, ENTITIES, NLUPP, Found, Lab, Study, sample
from ml.teachers import Teachers
from ml.types import Example

FULL = TrainConfig(profile="full")
FOLDS = 5
SAMPLES = 3
TENTHS = 10
SIZES = {10: (0.865, 0.852), 30: (0.912, 0.906), None: (0.937, 0.937)}  # Examples of an intent: aim, published best
ABOVE_TF_IDF = {"main_category": 0.08, "sub_category": 0.16}
ENTITY_F1, PUBLISHED_ENTITY_F1 = 0.75, 0.587
FURTHEST = 0.02  # That one network may be under several, and a student under its teacher
STUDENT_LAYERS = 3
STUDENT_SPEED = 25.0  # Times the reference's


def _measure(lab: Lab, learnt: Sequence[Example], held_out: Sequence[Example], config: TrainConfig = FULL) -> Found:
    return baselines.measure(
        learnt, held_out, lab.helpline, config, encoder=lab.encoder, exports=lab.exports, progress=lab.tell
    )


def _main(head: Found) -> float:
    return float(head["accuracy"] if "accuracy" in head else head["micro_f1"])


# --- The helpline -----------------------------------------------------------------------------------------------------


def _fold(number: int, lab: Lab) -> Found:
    rows = [row for row in lab.examples(CASES) if row.labels]
    fold = folds.draw(rows, FOLDS, seed=0)
    learnt = [row for row, at in zip(rows, fold, strict=True) if at != number]
    return _measure(lab, learnt, [row for row, at in zip(rows, fold, strict=True) if at == number])


def _helpline(found: Mapping[str, Found]) -> list[Found]:
    parts = list(found.values())
    rows = []
    for key in parts[0]["heads"]:
        heads = [part["heads"][key] for part in parts]
        ours, theirs, usual = (
            mean(map(_main, heads)),
            mean(h["tf_idf"] for h in heads),
            mean(h["majority"] for h in heads),
        )
        row: Found = {"figure": key, "found": ours, "beside": {"TF-IDF": theirs, "commonest": usual}}
        if key in ABOVE_TF_IDF:
            row["bar"] = theirs + ABOVE_TF_IDF[key]
        rows.append(row)
    return rows


def _entities(lab: Lab) -> Found:
    return _measure(lab, *baselines.part(lab.examples(ENTITIES)))


# --- Few labels -------------------------------------------------------------------------------------------------------


def _few(size: int | None, seed: int, lab: Lab) -> Found:
    schema, rows = lab.banking(BANKING_TRAIN)
    test = lab.banking(BANKING_TEST)[1]
    learnt = sample(rows, "intent", size or len(rows), seed=seed)
    config = replace(FULL, seed=seed)
    trained = training.train(learnt, schema, config, encoder=lab.encoder, exports=lab.exports, progress=lab.tell)
    said = export.predict(trained, [row.text for row in test], encoder=trained.served)
    head = metrics.evaluate(schema, test, said)["intent"]
    return {
        "learnt": len(learnt),
        "accuracy": head["accuracy"],
        "ece": head.get("ece"),
        "linear": baselines.linear(learnt, test, schema.head("intent"), lab.encoder),
        "told_apart": trained.told_apart,
    }


def _banking(found: Mapping[str, Found]) -> list[Found]:
    rows = []
    for size, (bar, published) in SIZES.items():
        parts = [found[_few_name(size, seed)] for seed in range(SAMPLES)]
        ours, linear = mean(one["accuracy"] for one in parts), mean(one["linear"] for one in parts)
        name = f"{size} examples of each intent" if size else "all examples"
        beside = {"logistic regression": linear, "published": published}
        rows.append({"figure": name, "found": ours, "bar": bar, "beside": beside})
    return rows


def _few_name(size: int | None, seed: int) -> str:
    return f"banking-{size or 'all'}-{seed}"


def _tenth(number: int, lab: Lab) -> Found:
    schema, rows, tenths = lab.nlupp()
    learnt = [row for row, at in zip(rows, tenths, strict=True) if at == number]
    test = [row for row, at in zip(rows, tenths, strict=True) if at != number]
    trained = training.train(learnt, schema, FULL, encoder=lab.encoder, exports=lab.exports, progress=lab.tell)
    said = export.predict(trained, [row.text for row in test], encoder=trained.served)
    head = metrics.evaluate(schema, test, said)["intent"]
    linear = baselines.linear(learnt, test, schema.head("intent"), lab.encoder)
    return {"learnt": len(learnt), "micro_f1": head["micro_f1"], "linear": linear}


def _nlupp(found: Mapping[str, Found]) -> list[Found]:
    ours, linear = (mean(one[key] for one in found.values()) for key in ("micro_f1", "linear"))
    return [{"figure": "micro F1 after one tenth", "found": ours, "beside": {"logistic regression": linear}}]


# --- One network, and a smaller one -----------------------------------------------------------------------------------


def _together(lab: Lab) -> Found:
    """Train one network on both files, and teach one of fewer layers what it says; measure both on both."""
    sides = [baselines.part(lab.examples(name)) for name in (CASES, ENTITIES)]
    learnt = [row for side in sides for row in side[0]]
    held_out = [row for side in sides for row in side[1]]
    found: Found = {}
    with tempfile.TemporaryDirectory(prefix="caseloop-study-") as name:
        teacher, student = Path(name) / "teacher", Path(name) / "student"
        given = {"exports": lab.exports, "progress": lab.tell}
        trained = training.train(learnt, lab.helpline, FULL, encoder=lab.encoder, **given)  # type: ignore[arg-type]
        export.save(trained, teacher)
        smaller = replace(FULL, layers=STUDENT_LAYERS)
        taught = training.train(
            learnt,
            lab.helpline,
            smaller,
            encoder=trained.encoder,
            teachers=Teachers([teacher]),
            **given,  # type: ignore[arg-type]
        )
        export.save(taught, student)
        for which, folder in (("teacher", teacher), ("student", student)):
            said = Predictor(folder).predict([row.text for row in held_out], progress=lab.tell)
            measured = metrics.evaluate(lab.helpline, held_out, said)
            found[which] = {key: _main(head) for key, head in measured.items()}
            found[f"{which}_speed"] = bench.serve(lab.examples(CASES), folder)["batch"]["ratio"]
    return found


def _alone(file: str, lab: Lab) -> Found:
    return _measure(lab, *baselines.part(lab.examples(file)))


def _network(found: Mapping[str, Found]) -> list[Found]:
    both = found["network-both"]
    heads = found["network-cases"]["heads"] | found["network-entities"]["heads"]
    alone = {key: _main(head) for key, head in heads.items()}
    rows = [_row(f"{key}, one network", both["teacher"][key], "alone", value) for key, value in alone.items()]
    rows += [
        _row(f"{key}, {STUDENT_LAYERS} layers", both["student"][key], "teacher", value)
        for key, value in both["teacher"].items()
    ]
    speed: Found = {"figure": "speed of the student beside the reference's", "found": both["student_speed"]}
    return [*rows, {**speed, "bar": STUDENT_SPEED, "beside": {"teacher": both["teacher_speed"]}}]


def _row(figure: str, found: float, other: str, value: float) -> Found:
    return {"figure": figure, "found": found, "bar": value - FURTHEST, "beside": {other: value}}


def _entity_rows(found: Mapping[str, Found]) -> list[Found]:
    head = found["entities"]["heads"]["entities"]
    return [
        {"figure": "micro F1", "found": _main(head), "bar": ENTITY_F1, "beside": {"published": PUBLISHED_ENTITY_F1}}
    ]


STUDIES = {
    "helpline": Study(
        "Helpline cases, five folds",
        [CASES],
        {f"helpline-{number}": partial(_fold, number) for number in range(FOLDS)},
        _helpline,
    ),
    "entities": Study("Helpline entities, a fifth", [ENTITIES], {"entities": _entities}, _entity_rows),
    "banking": Study(
        "Bank questions, 77 intents",
        [BANKING_TRAIN, BANKING_TEST],
        {_few_name(size, seed): partial(_few, size, seed) for size in SIZES for seed in range(SAMPLES)},
        _banking,
    ),
    "nlupp": Study(
        "Bank utterances, several intents each",
        [NLUPP],
        {f"nlupp-{number}": partial(_tenth, number) for number in range(TENTHS)},
        _nlupp,
    ),
    "network": Study(
        "One network, and a student of three layers",
        [CASES, ENTITIES],
        {
            "network-cases": partial(_alone, CASES),
            "network-entities": partial(_alone, ENTITIES),
            "network-both": _together,
        },
        _network,
    ),
}
