"""What the gate says of a version, beside the one that is in use now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ml.gate import Verdict
from webapp.models import ModelVersion
from webapp.queries import schemas


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
