"""What an import found, for the page and the command."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from webapp.casefiles.columns import Fault

MOST_FAULTS_KEPT = 1000
MOST_REPEATS_KEPT = 200
MOST_UNKNOWN_KEPT = 200  # Different labels; a text in the wrong column would make one of each row
LONGEST_KEPT = 1000  # Characters of a message


@dataclass
class Report:
    """What an import found, and how much of it."""

    rows: int = 0
    good: int = 0
    new: int = 0
    relabelled: int = 0
    unchanged: int = 0
    audited: int = 0
    refused: int = 0  # Rows that were left out whole
    cases: int = 0  # That good rows name
    repeated: int = 0  # Good rows of cases that the file has named before
    repeats: list[tuple[int, int]] = field(default_factory=list)  # The first of them: row, and row that came before
    columns: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)  # Of columns that were not found, or were left out
    labelled: Counter[str] = field(default_factory=Counter)  # Head -> rows with an answer
    unknown_labels: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    unknown_in_rest: int = 0  # Rows with other unknown labels than those that are kept
    faults: list[dict[str, Any]] = field(default_factory=list)
    faults_in_all: int = 0
    faulty_rows: set[int] = field(default_factory=set)

    @property
    def faulty(self) -> int:
        """Rows with at least one fault."""
        return len(self.faulty_rows)

    def add(self, fault: Fault) -> None:
        """Keep a fault; of very many only the first are kept, and all are counted."""
        self.faults_in_all += 1
        self.faulty_rows.add(fault.row)
        if len(self.faults) < MOST_FAULTS_KEPT:
            message = fault.message[:LONGEST_KEPT]
            self.faults.append({"row": fault.row, "field": fault.field[:LONGEST_KEPT], "message": message})
        if fault.unknown is not None:
            self._count_unknown(fault.field[:LONGEST_KEPT], fault.unknown[:LONGEST_KEPT])

    def repeat(self, row: int, before: int) -> None:
        """Count a row that repeats the case of an earlier one."""
        self.repeated += 1
        if len(self.repeats) < MOST_REPEATS_KEPT:
            self.repeats.append((row, before))

    def take_in(self, part: Report) -> None:
        """Add what was found in one chunk."""
        for name in ("good", "new", "relabelled", "unchanged", "audited", "refused"):
            setattr(self, name, getattr(self, name) + getattr(part, name))
        self.labelled.update(part.labelled)
        for fault in part.faults:
            self.add(Fault(**fault))

    def _count_unknown(self, head: str, label: str) -> None:
        is_full = sum(map(len, self.unknown_labels.values())) >= MOST_UNKNOWN_KEPT
        if not is_full or label in self.unknown_labels.get(head, ()):
            self.unknown_labels[head][label] += 1
        else:
            self.unknown_in_rest += 1

    def as_json(self) -> dict[str, Any]:
        """Return the form that tables hold."""
        found = {key: value for key, value in vars(self).items() if key != "faulty_rows"} | {"faulty": self.faulty}
        found["unknown_labels"] = {head: dict(values) for head, values in self.unknown_labels.items()}
        return found | {"labelled": dict(self.labelled)}
