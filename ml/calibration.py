"""From a model's raw scores to probabilities that mean what they say, and to answers. numpy only: whatever serves a
model needs it.

Scores are calibrated on rows that the model did not learn from. `tree` makes `choice` heads agree with their parents,
`spans` and `rubrics` say which scores those kinds have, and `scales` holds what is learnt of a head.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeAlias

import numpy as np

from ml import rubrics, scales, spans, tree
from ml.scales import FEWEST_ROWS, TINY, Bools, Floats, HeadCalibration, log_softmax
from ml.schema import Head, Kind, Schema
from ml.spans import Ints
from ml.types import Answer, HeadPrediction, Labels, Prediction, spans_of

__all__ = ["Calibration", "HeadCalibration", "Logits", "choice_probabilities", "fit", "predictions"]

LEANINGS = (0.0, 0.25, 0.5, 0.75, 1.0)  # Shares of the log-frequency of labels that are tried
PARTS = 5  # Of held-out rows, of which each is measured by what is learnt of the others
MOST_WORDS = 20_000  # Words from which the temperature of a spans head is learnt; more take time and change nothing

# Head key to raw scores: (n_cases, n_labels) for choice and choices, (n_cases, n_sets) for choices whose sets exclude
# each other, (n_cases, 2R) for rubric (see rubrics.columns), and for spans one (n_words, n_tags) for each case, or None
# where the head was not scored.
Logits: TypeAlias = Mapping[str, Floats | Sequence[Floats | None]]
Calibration: TypeAlias = Mapping[str, HeadCalibration]
Words: TypeAlias = Sequence[Ints]
Sets: TypeAlias = Mapping[str, Sequence[Sequence[str]]]


def fit(
    schema: Schema,
    logits: Logits,
    truth: Sequence[Labels],
    *,
    words: Words | None = None,
    sets: Sets | None = None,
    learnt_from: Sequence[Labels] = (),
) -> dict[str, HeadCalibration]:
    """Calibrate every head that has logits, on rows that it did not learn from.

    Args:
        schema: its heads.
        logits: raw scores of n_cases.
        truth: the n_cases labels; a head without a label is passed over.
        words: of the n_cases texts, each (n_words, 2); needed for spans.
        sets: of the `choices` heads that score whole sets, what each score stands for, labels in schema order.
        learnt_from: labels of the rows that the model did learn from: how common each is. Without them no head leans
            on that.

    Raises:
        ValueError: there are scores of spans, and no words.

    Source: Guo et al. (2017), section 4.2, for the temperature; Platt (1999) for whole sets, rubrics and spans.
    """
    found = {key: HeadCalibration(sets=(sets or {}).get(key, ())) for key in logits}
    for head in (head for head in schema.of_kind(Kind.CHOICES, Kind.RUBRIC) if head.key in logits):
        rows = [row for row, labels in enumerate(truth) if head.key in labels]
        if len(rows) >= FEWEST_ROWS:
            scores, wanted = _matrix(logits, head)[rows], [truth[row][head.key] for row in rows]
            if exclusive := found[head.key].sets:
                learnt = _fit_sets(head, exclusive, scores, wanted)
            else:
                fit_kind = _fit_choices if head.kind == Kind.CHOICES else _fit_rubric
                learnt = fit_kind(head, scores, wanted)
            found[head.key] = replace(learnt, rows=len(rows))
    for head in (head for head in schema.of_kind(Kind.SPANS) if head.key in logits):
        found[head.key] = _fit_spans(head, logits[head.key], _words(head, words), [row.get(head.key) for row in truth])
    for _ in range(2):  # Heads of a tree share evidence, so each is fitted again beside the others' new temperature
        for head in schema.of_kind(Kind.CHOICE):
            n_rows = sum(head.key in labels for labels in truth)
            if head.key in logits and n_rows >= FEWEST_ROWS:
                learnt = _fit_choice(schema, head, logits, truth, found, learnt_from)
                found[head.key] = replace(learnt, rows=n_rows)
    return found


def predictions(
    schema: Schema, logits: Logits, calibration: Calibration, *, words: Words | None = None
) -> list[Prediction]:
    """Turn raw scores into what the model says of each case, heads in schema order.

    The arguments are those of `fit`. Answers of a head that was not calibrated have no confidence, and a case lacks the
    heads for which it was not scored.

    Raises:
        ValueError: there are scores of spans, and no words.
    """
    marginals = choice_probabilities(schema, logits, calibration)
    joint = tree.best_together(schema, marginals)
    columns: dict[str, Sequence[HeadPrediction | None]] = {}
    for head in (head for head in schema.heads if head.key in logits):
        learnt = calibration[head.key]
        match head.kind:
            case Kind.CHOICE:
                columns[head.key] = _answer_choice(head, marginals[head.key], joint[head.key], columns)
            case Kind.CHOICES:
                answer = _answer_sets if learnt.sets else _answer_choices
                columns[head.key] = answer(head, _matrix(logits, head), learnt)
            case Kind.RUBRIC:
                columns[head.key] = _answer_rubric(head, _matrix(logits, head), learnt)
            case Kind.SPANS:
                columns[head.key] = _answer_spans(head, logits[head.key], _words(head, words), learnt)
        if not learnt.rows:
            columns[head.key] = [given and replace(given, confidence=None) for given in columns[head.key]]
    return [
        {key: given for key, given in zip(columns, row, strict=True) if given is not None}
        for row in zip(*columns.values(), strict=True)
    ]


def predictions_of_strangers(
    schema: Schema,
    logits: Logits,
    truth: Sequence[Labels],
    *,
    words: Words | None = None,
    learnt_from: Sequence[Labels] = (),
) -> list[Prediction]:
    """Turn the scores of held-out rows into predictions, each fifth of them calibrated on the others.

    So it can be measured how good calibrated answers are: on the rows that calibrate them they look better than they
    are. The arguments are those of `fit`.
    """
    found: list[Prediction] = [{}] * len(truth)
    every = np.random.default_rng(len(truth)).permutation(len(truth))
    for part in range(PARTS):
        inside, outside = np.sort(every[part::PARTS]), np.sort(np.delete(every, np.s_[part::PARTS]))
        learnt = fit(
            schema,
            _rows(logits, outside),
            [truth[row] for row in outside],
            words=None if words is None else [words[row] for row in outside],
            learnt_from=learnt_from,
        )
        given = predictions(
            schema, _rows(logits, inside), learnt, words=None if words is None else [words[row] for row in inside]
        )
        for row, prediction in zip(inside, given, strict=True):
            found[row] = prediction
    return found


def _rows(logits: Logits, rows: Ints) -> Logits:
    return {
        key: scores[rows] if isinstance(scores, np.ndarray) else [scores[row] for row in rows]
        for key, scores in logits.items()
    }


def choice_probabilities(schema: Schema, logits: Logits, calibration: Calibration) -> dict[str, Floats]:
    """Return the probabilities of every `choice` head, shape (n_cases, n_labels); rows sum to 1, and heads agree."""
    heads = [head for head in schema.of_kind(Kind.CHOICE) if head.key in logits]
    return tree.marginals(schema, {head.key: _evidence(head, logits, calibration[head.key]) for head in heads})


def _evidence(head: Head, logits: Logits, learnt: HeadCalibration) -> Floats:
    return learnt.log_probabilities(_matrix(logits, head), head.keys)


def _matrix(logits: Logits, head: Head) -> Floats:
    return np.asarray(logits[head.key], dtype=np.float64)


def _words(head: Head, words: Words | None) -> Words:
    if words is None:
        raise ValueError(f"{head.key} has scores of words; expected the words too")
    return words


def _answer_choice(
    head: Head, probs: Floats, joint: Floats, columns: Mapping[str, Sequence[HeadPrediction | None]]
) -> list[HeadPrediction]:
    allowed = np.ones_like(probs, dtype=bool)
    if head.parent is not None and head.parent in columns:
        parents = np.array([label.parent for label in head.labels])
        above = [found.answer for found in columns[head.parent] if found is not None]
        allowed = np.array([parents == answer for answer in above], dtype=bool).reshape(probs.shape)
    best = np.where(allowed, joint, -np.inf).argmax(axis=1)
    return [
        HeadPrediction(head.keys[index], float(row[index]), dict(zip(head.keys, row.tolist(), strict=True)))
        for index, row in zip(best, probs, strict=True)
    ]


def _answer_choices(head: Head, logits: Floats, learnt: HeadCalibration) -> list[HeadPrediction]:
    probs = learnt.probabilities(logits, head.keys)
    chosen = probs >= _thresholds(head, head.keys, learnt)
    exact = learnt.exact(_log_odds_of_set(probs, chosen))
    return [
        HeadPrediction(
            [key for key, is_chosen in zip(head.keys, row, strict=True) if is_chosen],
            float(confidence),
            dict(zip(head.keys, values.tolist(), strict=True)),
        )
        for row, confidence, values in zip(chosen, exact, probs, strict=True)
    ]


def _answer_sets(head: Head, logits: Floats, learnt: HeadCalibration) -> list[HeadPrediction]:
    """Answer the likeliest of sets that exclude each other; a label is as probable as the sets that hold it."""
    log_probs = log_softmax(logits / learnt.temperature)  # (n, n_sets)
    held = _membership(head, learnt.sets).astype(np.float64)  # (n_sets, n_labels)
    exact = learnt.exact(scales.log_odds(log_probs.max(axis=1)))
    return [
        HeadPrediction(
            list(learnt.sets[best]), float(confidence), dict(zip(head.keys, np.minimum(row, 1.0).tolist(), strict=True))
        )
        for best, confidence, row in zip(log_probs.argmax(axis=1), exact, np.exp(log_probs) @ held, strict=True)
    ]


def _answer_rubric(head: Head, logits: Floats, learnt: HeadCalibration) -> list[HeadPrediction]:
    keys = rubrics.criteria(head)
    probs = learnt.probabilities(logits, rubrics.columns(head))
    chosen = _rubric_answers(head, probs, learnt)
    exact = learnt.exact(_log_odds_of_rubric(probs, chosen, np.ones((len(probs), len(keys)), dtype=bool)))
    answers = []
    for row, confidence, values in zip(chosen, exact, probs, strict=True):
        yes, applies = np.split(row, 2)
        marks = [bool(mark) if does else None for mark, does in zip(yes, applies, strict=True)]
        said = dict(zip(keys, values[: len(keys)].tolist(), strict=True))
        answers.append(HeadPrediction(rubrics.decode(marks, head), float(confidence), said))
    return answers


def _answer_spans(
    head: Head, logits: Floats | Sequence[Floats | None], words: Words, learnt: HeadCalibration
) -> list[HeadPrediction | None]:
    scored = [scores for scores in logits if scores is not None]
    texts = [ranges for ranges, scores in zip(words, logits, strict=True) if scores is not None]
    found = iter(spans.decode_all(scored, texts, head, learnt))
    return [None if scores is None else HeadPrediction(next(found), None) for scores in logits]


def _membership(head: Head, sets: Sequence[Sequence[str]]) -> Bools:
    """Return which labels each set holds, (n_sets, n_labels)."""
    return np.array([[key in keys for key in head.keys] for keys in sets])


def _thresholds(head: Head, keys: Sequence[str], learnt: HeadCalibration) -> Floats:
    return np.array([learnt.thresholds.get(key, head.threshold) for key in keys])


def _rubric_answers(head: Head, probs: Floats, learnt: HeadCalibration) -> Bools:
    """Return what is answered in each column, (n, 2R); a yes says nothing where "applies" is false."""
    keys = rubrics.criteria(head)
    least = np.concatenate([_thresholds(head, keys, learnt), np.full(len(keys), 0.5)])
    answered: Bools = probs >= least
    return answered


def _log_odds_of_set(probs: Floats, chosen: Bools) -> Floats:
    """Return the log-odds that every label of a set is right, were labels independent: (n, n_labels) to (n,)."""
    return scales.log_odds(scales.log_likelihood(probs, chosen).sum(axis=1))


def _log_odds_of_rubric(probs: Floats, chosen: Bools, counted: Bools) -> Floats:
    """Return the log-odds that all counted criteria, (n, R), are right, were they independent, (n,).

    Args:
        probs: (n, 2R).
        chosen: what is answered, (n, 2R).
        counted: (n, R).
    """
    yes, applies = np.split(scales.log_likelihood(probs, chosen), 2, axis=1)
    right = applies + yes * np.split(chosen, 2, axis=1)[1]
    return scales.log_odds((right * counted).sum(axis=1))


def _fit_choice(
    schema: Schema,
    head: Head,
    logits: Logits,
    truth: Sequence[Labels],
    found: Calibration,
    learnt_from: Sequence[Labels],
) -> HeadCalibration:
    """Choose the temperature, and how far to lean on what is common, that make the labels of the whole tree likeliest.

    Source: Alexandari et al. (2020), Maximum Likelihood with Bias-Corrected Calibration, with one number for all labels
    in the place of one for each, since few rows cannot tell of many labels.
    """
    family = {other.key: other for other in tree.family(schema, head) if other.key in logits}
    rows = {key: [row for row, labels in enumerate(truth) if key in labels] for key in family}
    columns = {key: [family[key].keys.index(str(truth[row][key])) for row in rows[key]] for key in family}
    evidence = {key: _evidence(family[key], logits, found[key]) for key in family}
    counts = Counter(labels.get(head.key) for labels in learnt_from if isinstance(labels.get(head.key), str))
    common = np.log([counts[key] + 1.0 for key in head.keys])
    common -= common.mean()

    def leaning(share: float, temperature: float) -> HeadCalibration:
        shifts = dict(zip(head.keys, (share * common).tolist(), strict=True)) if share else {}
        return replace(found[head.key], temperature=temperature, shifts=shifts)

    def loss(share: float, temperature: float) -> float:
        evidence[head.key] = _evidence(head, logits, leaning(share, temperature))
        probs = tree.marginals(schema, evidence)
        return -sum(float(np.log(probs[key][rows[key], columns[key]] + TINY**2).sum()) for key in family)

    shares = LEANINGS if counts else LEANINGS[:1]
    tried = [(share, scales.coolest(partial(loss, share))) for share in shares]
    return leaning(*min(tried, key=lambda one: loss(*one)))


def _fit_choices(head: Head, scores: Floats, truth: Sequence[object]) -> HeadCalibration:
    wanted = np.array([[key in answer for key in head.keys] for answer in truth if isinstance(answer, list)])
    shared, own = scales.fit_temperatures(head.keys, scores, wanted, np.ones_like(wanted))
    probs = HeadCalibration(shared, temperatures=own).probabilities(scores, head.keys)
    thresholds = {
        key: scales.best_threshold(head.threshold, probs[:, at], wanted[:, at], _f1) for at, key in enumerate(head.keys)
    }
    chosen = probs >= np.array(list(thresholds.values()))
    slope, intercept = scales.platt(_log_odds_of_set(probs, chosen), (chosen == wanted).all(axis=1))
    return HeadCalibration(shared, thresholds, slope, intercept, own)


def _fit_sets(head: Head, sets: Sequence[Sequence[str]], scores: Floats, truth: Sequence[object]) -> HeadCalibration:
    """Fit one temperature, on the labels' probabilities, as the truth may be none of the sets; and a correction."""
    answers = [[str(key) for key in answer] for answer in truth if isinstance(answer, list)]
    wanted, held = _membership(head, answers), _membership(head, sets)

    def loss(temperature: float) -> float:
        probs = np.exp(log_softmax(scores / temperature)) @ held.astype(np.float64)
        return -float(scales.log_likelihood(probs, wanted).sum())

    temperature = scales.coolest(loss)
    log_probs = log_softmax(scores / temperature)
    is_right = (held[log_probs.argmax(axis=1)] == wanted).all(axis=1)
    slope, intercept = scales.platt(scales.log_odds(log_probs.max(axis=1)), is_right)
    return HeadCalibration(temperature, slope=slope, intercept=intercept, sets=sets)


def _fit_rubric(head: Head, scores: Floats, truth: Sequence[object]) -> HeadCalibration:
    """Fit a rubric; one that is labelled in part counts by the part that is."""
    keys = rubrics.criteria(head)
    values = np.stack([rubrics.encode(answer, head) for answer in truth if isinstance(answer, dict)])  # (n, 2R)
    known, wanted = ~np.isnan(values), values == 1.0
    shared, own = scales.fit_temperatures(rubrics.columns(head), scores, wanted, known)
    learnt = HeadCalibration(shared, temperatures=own)
    probs = learnt.probabilities(scores, rubrics.columns(head))
    chosen = _rubric_answers(head, probs, learnt)
    is_right = np.logical_and(*np.split((chosen == wanted) | ~known, 2, axis=1)).all(axis=1)
    counted = known[:, len(keys) :]
    slope, intercept = scales.platt(_log_odds_of_rubric(probs, chosen, counted), is_right)
    return replace(learnt, slope=slope, intercept=intercept)


def _fit_spans(
    head: Head, logits: Floats | Sequence[Floats | None], words: Words, truth: Sequence[Answer | None]
) -> HeadCalibration:
    """Fit the temperature on the tags of words, and the correction on the spans that are then found."""
    rows = [
        (scores, ranges, spans_of(answer))
        for scores, ranges, answer in zip(logits, words, truth, strict=True)
        if scores is not None and answer is not None
    ]
    if len(rows) < FEWEST_ROWS:
        return HeadCalibration()
    tags = np.concatenate([spans.encode(answer, ranges, head)[0] for _, ranges, answer in rows])
    flat = np.concatenate([scores for scores, _, _ in rows])
    every = -(-len(flat) // MOST_WORDS)
    log_least, kept, at = np.log(TINY), flat[::every], (np.arange(len(flat[::every])), tags[::every])
    tempered = HeadCalibration(
        scales.coolest(lambda value: -float(np.maximum(log_softmax(kept / value)[at], log_least).sum())), rows=len(rows)
    )
    found = spans.decode_all([scores for scores, _, _ in rows], [ranges for _, ranges, _ in rows], head, tempered)
    wanted = [{(span["start"], span["end"], span["label"]) for span in answer} for _, _, answer in rows]
    said = [(span, true) for answer, true in zip(found, wanted, strict=True) for span in answer]
    if len(said) < FEWEST_ROWS:
        return tempered
    probs = np.array([span["confidence"] for span, _ in said])
    right = np.array([(span["start"], span["end"], span["label"]) in true for span, true in said])
    slope, intercept = scales.platt(scales.log_odds(np.log(np.clip(probs, TINY, 1.0))), right)
    return replace(tempered, slope=slope, intercept=intercept)


def _f1(answered: Bools, truth: Bools) -> float:
    return float(2 * (answered & truth).sum() / (answered.sum() + truth.sum()))
