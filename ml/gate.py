"""Whether a challenger may take the champion's place: both on the same cases, in words and numbers. numpy only.

Both answer every case, so what differs is drawn in pairs: cases are drawn again and again, and each draw gives one
difference (Efron and Tibshirani 1993, An Introduction to the Bootstrap, sections 8.3 and 16.4; on language tasks Koehn
2004, Statistical Significance Tests for Machine Translation Evaluation, section 3).

Some losses refuse whatever is gained elsewhere. A head must not be surely worse, nor its confidences; and where a miss
is dangerous, recall must not fall by more than a margin, whether or not that may be chance. Where too few cases tell,
or nothing is gained beyond chance, a person decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ml import metrics, slices
from ml.policy import Policy
from ml.schema import Head, Kind, Schema
from ml.slices import RulesError, Slice, SliceRule
from ml.types import Answer, Example, HeadPrediction, Prediction

Floats: TypeAlias = NDArray[np.float64]

SLACK = 1e-9  # A fall of exactly the margin is within it, however it was computed


class Pair(NamedTuple):
    """The truth of one case, and what champion and challenger say of it."""

    true: Answer
    said: tuple[HeadPrediction, HeadPrediction]


class Verdict(StrEnum):
    """What the gate says of a challenger."""

    BETTER = "better"
    OPEN = "open"
    REFUSED = "refused"


class Finding(StrEnum):
    """What a verdict rests on. The first five refuse, and the last but one alone speaks for the challenger."""

    RECALL = "recall"
    WORSE = "worse"
    CALIBRATION = "calibration"
    UNSURE = "unsure"
    UNANSWERED = "unanswered"
    SLICE = "slice"
    FEW = "few"
    BETTER = "better"
    NO_GAIN = "no_gain"


VETOES = (Finding.RECALL, Finding.WORSE, Finding.CALIBRATION, Finding.UNSURE, Finding.UNANSWERED)


@dataclass(frozen=True, slots=True)
class Rules:
    """What an admin may set about the gate.

    `least_cases` is how many cases tell something. `recall_margin` is by how much recall may fall where a miss is
    dangerous, `slice_margin` by how much a head may surely fall in a slice before a person is asked, and
    `calibration_margin` by how much a calibration error may surely rise where the confidences are too high, or not
    worth more all in all (by their squared error). `is_automatic` puts in use by itself what is better.
    """

    least_cases: int = 20
    recall_margin: float = 0.05
    slice_margin: float = 0.05
    calibration_margin: float = 0.02
    is_automatic: bool = False
    slices: tuple[SliceRule, ...] = ()

    @classmethod
    def from_json(cls, found: object) -> Rules:
        """Read the rules of a policy; what they leave out is as above.

        Raises:
            RulesError: they are none.
        """
        known = cls.__dataclass_fields__
        if not isinstance(found, Mapping):
            raise RulesError(f"gate is {found!r:.60}; expected an object with named values")
        for key in found:
            if key not in known:
                raise RulesError(f"gate.{key} is not known; expected {', '.join(known)}")
        for key in ("recall_margin", "slice_margin", "calibration_margin"):
            value = found.get(key, 0.0)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise RulesError(f"gate.{key} is {value!r:.60}; expected a number from 0 to 1")
        least, automatic = found.get("least_cases", 1), found.get("is_automatic", False)
        if not isinstance(least, int) or isinstance(least, bool) or least < 1:
            raise RulesError(f"gate.least_cases is {least!r:.60}; expected a whole number of at least 1")
        if not isinstance(automatic, bool):
            raise RulesError(f"gate.is_automatic is {automatic!r:.60}; expected true or false")
        given = found.get("slices", [])
        if not isinstance(given, list | tuple):
            raise RulesError(f"gate.slices is {given!r:.60}; expected a list")
        rules = tuple(SliceRule.from_json(f"gate.slices[{at}]", one) for at, one in enumerate(given))
        return cls(**{**found, "slices": rules})


@dataclass(frozen=True, slots=True)
class Difference:
    """One measure of both on the same `n` cases, with the 95% interval of what the challenger has more."""

    subject: str
    n: int
    champion: float
    challenger: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Reason:
    """One finding about a head or slice, in words; `subject` is that of the `Difference` which it rests on, if any."""

    kind: Finding
    words: str
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What the gate found: the verdict in a sentence, its reasons, and all that was measured."""

    verdict: Verdict
    sentence: str
    n: int
    reasons: tuple[Reason, ...]
    rules: Rules
    heads: tuple[Difference, ...] = ()
    dangers: tuple[Difference, ...] = ()
    calibration: tuple[Difference, ...] = ()
    slices: tuple[Difference, ...] = ()
    few: Mapping[str, int] | None = None  # Kind of slice -> how many have too few cases to be told of

    def as_json(self) -> dict[str, Any]:
        """Return the form that tables hold."""
        return asdict(self)


def compare(
    schema: Schema,
    policy: Policy,
    examples: Sequence[Example],
    champion: Sequence[Prediction],
    challenger: Sequence[Prediction],
    *,
    rng: np.random.Generator | None = None,
) -> Report:
    """Compare two versions on cases that neither learnt from.

    Args:
        schema: the heads, and the labels where a miss is dangerous.
        policy: the rules of the gate, the heads that route, and from when a case counts as urgent.
        examples: with labels, n of them.
        champion: what the version in use says of each, n.
        challenger: what the other says of each, n.
        rng: draws cases; without one, the same report comes out every time.
    """
    gate = _Gate(schema, policy, Rules.from_json(policy.gate), examples, rng or np.random.default_rng(0))
    for head in schema.heads:
        gate.look_at(head, champion, challenger)
    gate.look_at_slices(champion, challenger)
    return gate.report()


class _Gate:
    """Collects what is measured and what it means."""

    def __init__(
        self, schema: Schema, policy: Policy, rules: Rules, examples: Sequence[Example], rng: np.random.Generator
    ) -> None:
        self.schema, self.policy, self.rules, self.examples, self.rng = schema, policy, rules, examples, rng
        self.reasons: list[Reason] = []
        self.heads: list[Difference] = []
        self.dangers: list[Difference] = []
        self.calibration: list[Difference] = []
        self.slices: list[Difference] = []
        self.few: Counter[str] = Counter()

    def look_at(self, head: Head, champion: Sequence[Prediction], challenger: Sequence[Prediction]) -> None:
        pairs = list(_pairs(head, self.examples, champion, challenger).values())
        if not pairs:
            self._look_at_unanswered(head, champion, challenger)
            return
        found = self._difference(head.name, *_main(head, pairs))
        self.heads.append(found)
        if self._is_enough(head.name, found.n, asks=head.key in self.policy.thresholds):
            if found.high < 0:
                self._say(Finding.WORSE, _fell(head.name, found), found.subject)
            elif found.low > 0:
                words = f"{head.name} {found.challenger:.2f} against {found.champion:.2f}"
                self._say(Finding.BETTER, words, found.subject)
            self._look_at_calibration(head, pairs)
        self._look_at_dangers(head, pairs)

    def look_at_slices(self, champion: Sequence[Prediction], challenger: Sequence[Prediction]) -> None:
        heads = [head for head in self.schema.heads if head.key in self.policy.thresholds]
        pairs = {head.key: _pairs(head, self.examples, champion, challenger) for head in heads}
        for part in slices.of(self.schema, self.examples, self.rules.slices):
            if len(part.rows) < self.rules.least_cases:
                if part.is_named:
                    self._is_enough(part.name, len(part.rows), asks=True)
                else:
                    self.few[part.kind] += 1
                continue
            for head in heads:
                chosen = [pairs[head.key][row] for row in part.rows if row in pairs[head.key]]
                if len(chosen) >= self.rules.least_cases:
                    self._look_at_slice(part, head, chosen)

    def report(self) -> Report:
        kinds = {reason.kind for reason in self.reasons}
        if not self.heads:
            self._say(Finding.FEW, "not enough cases: none that both answer is labelled for the test")
        elif not kinds & {Finding.BETTER, *VETOES}:
            self._say(Finding.NO_GAIN, "no head is better beyond chance")
        against = [reason for reason in self.reasons if reason.kind in VETOES]
        gains = "; ".join(reason.words for reason in self.reasons if reason.kind == Finding.BETTER)
        doubts = [reason for reason in self.reasons if reason.kind not in (*VETOES, Finding.BETTER)]
        if against:
            verdict, sentence = Verdict.REFUSED, f"Refused: {_listed(against)}."
        elif doubts:
            verdict = Verdict.OPEN
            sentence = f"A person decides: {_listed(doubts)}{'; but better: ' + gains if gains else ''}."
        else:
            verdict, sentence = Verdict.BETTER, f"Better on the same {len(self.examples)} cases: {gains}."
        return Report(
            verdict,
            sentence,
            len(self.examples),
            tuple(self.reasons),
            self.rules,
            tuple(self.heads),
            tuple(self.dangers),
            tuple(self.calibration),
            tuple(self.slices),
            dict(self.few),
        )

    def _look_at_unanswered(self, head: Head, champion: Sequence[Prediction], challenger: Sequence[Prediction]) -> None:
        labelled = sum(head.key in example.labels for example in self.examples)
        answered = [any(head.key in said for said in version) for version in (champion, challenger)]
        if answered == [True, False]:
            self._say(Finding.UNANSWERED, f"{head.name} is not answered any more")
        elif not labelled and head.key in self.policy.thresholds and self.examples:
            self._is_enough(head.name, 0, asks=True)

    def _look_at_dangers(self, head: Head, pairs: Sequence[Pair]) -> None:
        for name, keys in slices.dangers(head).items():
            self._look_at_danger(f"{name} ({head.name})", keys, pairs, partial(_holds, keys))
        if head.urgent is not None:
            name = f"{head.name_of(head.urgent)} ({head.name})"
            self._look_at_danger(name, frozenset([head.urgent]), pairs, partial(self._is_urgent, head))

    def _look_at_danger(
        self, name: str, keys: frozenset[str], pairs: Sequence[Pair], is_caught: Callable[[HeadPrediction], bool]
    ) -> None:
        rows = [pair for pair in pairs if metrics.items(pair.true) & keys]
        if not self._is_enough(name, len(rows), asks=True):
            return
        ones = np.ones(len(rows))
        before, after = (np.array([is_caught(pair.said[at]) for pair in rows], dtype=np.float64) for at in (0, 1))
        found = self._difference(name, np.stack([before, ones]), np.stack([after, ones]))
        self.dangers.append(found)
        if found.champion - found.challenger > self.rules.recall_margin + SLACK:
            self._say(Finding.RECALL, f"recall of {_fell(name, found)}", found.subject)

    def _look_at_slice(self, part: Slice, head: Head, pairs: Sequence[Pair]) -> None:
        name = f"{part.name}, {head.name}"
        found = self._difference(name, *_main(head, pairs))
        self.slices.append(found)
        fall = found.champion - found.challenger
        if part.is_safety and fall > self.rules.recall_margin + SLACK:
            self._say(Finding.RECALL, _fell(name, found), found.subject)
        elif fall > self.rules.slice_margin + SLACK and found.high < 0:
            self._say(Finding.SLICE, _fell(name, found), found.subject)

    def _look_at_calibration(self, head: Head, pairs: Sequence[Pair]) -> None:
        truth = [pair.true for pair in pairs]
        before, after = (metrics.confidences(head, truth, [pair.said[at] for pair in pairs]) for at in (0, 1))
        if before is None:
            return
        if after is None:
            if any(pair.said[1].confidence is None for pair in pairs) and head.kind != Kind.SPANS:
                self._say(Finding.UNSURE, f"{head.name} is answered without a confidence")
            return
        n = len(pairs)
        measured = [metrics.calibration_error(said.levels, said.right) for said in (before, after)]
        parts = [metrics.gaps(said, n) for said in (before, after)]
        rises: list[Floats] = []
        for times in metrics.draws(n, self.rng):
            errors = [np.abs(times @ gaps).sum(axis=1) / np.maximum(times @ counts, 1.0) for gaps, counts in parts]
            rises.append(errors[1] - errors[0])
        low, high = np.quantile(np.concatenate(rises), [0.025, 0.975])
        found = Difference(head.name, n, measured[0], measured[1], float(low), float(high))
        self.calibration.append(found)
        # A head that is equally sure of all is calibrated and tells nothing: a rise alone must not keep out what tells
        # more. But the mistakes of one that is surer than it is right would be accepted, however much it tells
        misses = [np.subtract(said.levels, said.right, dtype=np.float64) for said in (before, after)]
        is_less_worth = np.square(misses[1]).mean() > np.square(misses[0]).mean() - SLACK
        most = self.rules.calibration_margin + SLACK
        is_too_sure = misses[1].mean() - max(0.0, misses[0].mean()) > most
        if (is_less_worth or is_too_sure) and found.low > 0 and measured[1] - measured[0] > most:
            words = f"the calibration error of {head.name} rose from {found.champion:.2f} to {found.challenger:.2f}"
            self._say(Finding.CALIBRATION, words, found.subject)

    def _is_urgent(self, head: Head, said: HeadPrediction) -> bool:
        """Whether routing would show a case as urgent, or the answer says so."""
        if said.answer == head.urgent:
            return True
        known = said.confidence is not None and said.probabilities is not None
        return known and (said.probabilities or {}).get(head.urgent or "", 0.0) >= self.policy.urgent_threshold

    def _is_enough(self, name: str, n: int, *, asks: bool) -> bool:
        if n < self.rules.least_cases and asks:
            self._say(Finding.FEW, f"not enough cases of {name} ({n} of {self.rules.least_cases})")
        return n >= self.rules.least_cases

    def _difference(self, subject: str, before: Floats, after: Floats) -> Difference:
        """Compare two ratios of sums, each (2, n): what each case adds above the line and below."""
        found = np.concatenate(
            [_ratio(times @ after.T) - _ratio(times @ before.T) for times in metrics.draws(before.shape[1], self.rng)]
        )
        low, high = np.quantile(found, [0.025, 0.975])
        values = [float(_ratio(side.sum(axis=1)[None])[0]) for side in (before, after)]
        return Difference(subject, before.shape[1], values[0], values[1], float(low), float(high))

    def _say(self, kind: Finding, words: str, subject: str = "") -> None:
        self.reasons.append(Reason(kind, words, subject))


def _pairs(
    head: Head, examples: Sequence[Example], champion: Sequence[Prediction], challenger: Sequence[Prediction]
) -> dict[int, Pair]:
    rows = enumerate(zip(examples, champion, challenger, strict=True))
    return {
        row: Pair(example.labels[head.key], (before[head.key], after[head.key]))
        for row, (example, before, after) in rows
        if head.key in example.labels and head.key in before and head.key in after
    }


def _main(head: Head, pairs: Sequence[Pair]) -> tuple[Floats, Floats]:
    """Return what each case adds to the main measure of a head, above the line and below, of either version: (2, n)."""
    before, after = (np.array([_adds(head, pair.true, pair.said[at].answer) for pair in pairs]).T for at in (0, 1))
    return before, after


def _adds(head: Head, true: Answer, answer: Answer) -> tuple[float, float]:
    wanted, given = metrics.items(true), metrics.items(answer)
    if head.kind == Kind.CHOICE:
        return float(wanted == given), 1.0
    if head.kind == Kind.RUBRIC:
        return len(wanted & given), len(wanted)
    return 2 * len(wanted & given), len(wanted) + len(given)


def _ratio(sums: Floats) -> Floats:
    """Divide, (k, 2) to (k,); 1 where there is nothing on either side, as in `metrics`."""
    return np.where(sums[:, 1] > 0, sums[:, 0] / np.maximum(sums[:, 1], 1.0), 1.0)


def _holds(keys: frozenset[str], said: HeadPrediction) -> bool:
    return bool(metrics.items(said.answer) & keys)


def _fell(name: str, found: Difference) -> str:
    return f"{name} fell from {found.champion:.2f} to {found.challenger:.2f} on {found.n} cases"


def _listed(reasons: Sequence[Reason]) -> str:
    return "; ".join(reason.words for reason in reasons)
