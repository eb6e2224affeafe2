"""What the gate says of a version, beside the one that is in use now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ml.gate import VETOES, Finding, Verdict
from webapp.models import ModelVersion
from webapp.queries import schemas

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise


@dataclass(frozen=True, slots=True)
class Standing:
    """The verdict of the gate, in a sentence, and the report that it rests on, if there is one."""

    verdict: Verdict
    sentence: str
    report: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_refused(self) -> bool:
        """Whether it may be put in use only by who overrides the gate."""
        return self.verdict == Verdict.REFUSED


def standing(version: ModelVersion) -> Standing:
    """Return what the gate says of a version: open where it was not measured beside the one that is in use now."""
    champion = schemas.champion(version.schema)
    if champion is None:
        return Standing(Verdict.OPEN, "A person decides: no version is in use that it could be compared with.")
    measured = version.evaluations.filter(compared_with=champion).exclude(gate={})
    evaluation = measured.order_by("-id").first()
    if evaluation is None:
        return Standing(
            Verdict.OPEN, f"A person decides: it was not compared with version {champion.number}, which is in use."
        )
    return Standing(Verdict(evaluation.gate["verdict"]), evaluation.gate["sentence"], evaluation.gate)


# Of a report, the lists of differences: what each measures, whether more is better, and which findings rest on it
PARTS = (
    ("dangers", gettext_lazy("recall, where a miss is dangerous"), True, (Finding.RECALL,)),
    ("heads", gettext_lazy("all cases"), True, (Finding.WORSE, Finding.BETTER)),
    ("calibration", gettext_lazy("calibration error; less is better"), False, (Finding.CALIBRATION,)),
)
SLICES = ("slices", gettext_lazy("its cases"), True, (Finding.RECALL, Finding.SLICE))


@dataclass(frozen=True, slots=True)
class Change:
    """What a difference means, with a sign that needs no colour."""

    sign: str
    words: str
    style: str


@dataclass(frozen=True, slots=True)
class Row:
    """One measure of both versions, and whether the verdict rests on it."""

    found: Mapping[str, Any]  # As `ml.gate.Difference`
    of: str
    change: Change
    is_veto: bool
    has_decided: bool


@dataclass(frozen=True, slots=True)
class Told:
    """A report as pages show it, the rows that decided first."""

    report: Mapping[str, Any]
    rows: tuple[Row, ...]
    slices: tuple[Row, ...]


def told(report: Mapping[str, Any]) -> Told | None:
    """Return a report of the gate for people; None where there is none."""
    if not report:
        return None
    rows = [row for part in PARTS for row in _rows(report, *part)]
    return Told(report, tuple(_sorted(rows)), tuple(_sorted(_rows(report, *SLICES))))


def change(low: float, high: float, *, more_is_better: bool = True) -> Change:
    """Say what the 95% interval of a difference means: noise, where it holds 0."""
    if low <= 0 <= high:
        return Change("≈", _("the same within noise"), "quiet")
    if (low > 0) == more_is_better:
        return Change("✓", _("better"), "good")
    return Change("▼", _("worse"), "urgent")


def _rows(
    report: Mapping[str, Any], name: str, of: StrOrPromise, more_is_better: bool, findings: tuple[Finding, ...]
) -> list[Row]:
    said = {(one["kind"], one.get("subject")) for one in report.get("reasons", ())}
    rows = []
    for found in report.get(name, ()):
        reasons = {kind for kind in findings if (kind, found["subject"]) in said}
        is_veto = bool(reasons & set(VETOES))
        # What speaks for a challenger that is refused, or for which a person is asked, has not decided
        has_decided = is_veto or Finding.SLICE in reasons or (bool(reasons) and report["verdict"] == Verdict.BETTER)
        what = change(found["low"], found["high"], more_is_better=more_is_better)
        rows.append(Row(found, str(of), what, is_veto, has_decided))
    return rows


def _sorted(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (not row.is_veto, not row.has_decided))
