"""Where studies are done: the public data, what all parts share, and what is done already."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from ml import encoder as encoders
from ml import examples
from ml import schema as schemas
from ml.cache import Cache
from ml.encoder import Encoder
from ml.errors import InputError
from ml.progress import OnProgress, ignore
from ml.schema import Schema
from ml.types import Example

Found: TypeAlias = dict[str, Any]
Part: TypeAlias = Callable[["Lab"], Found]

BANKING_TRAIN, BANKING_TEST, NLUPP = "banking77_train.jsonl", "banking77_test.jsonl", "nlupp_banking.jsonl"
CASES, ENTITIES = "helpline_cases.jsonl", "helpline_ner.jsonl"


class StudyError(InputError):
    """A study cannot be done; the message names what is missing."""


@dataclass(frozen=True)
class Study:
    """A question, the parts that answer it, and how they are put together.

    Args:
        needs: files of the data.
        parts: by name; each returns what its file then holds.
        conclude: takes what the parts found, by name, and returns the rows of the report: each has `figure`, a name,
            `found`, and where there is one `bar`, what was aimed at, and `beside`, what others reach.
    """

    title: str
    needs: Sequence[str]
    parts: Mapping[str, Part]
    conclude: Callable[[Mapping[str, Found]], list[Found]]


@dataclass
class Lab:
    """The data of a folder, with a folder of its own for what is kept between runs."""

    data: Path
    work: Path
    tell: OnProgress = ignore
    _rows: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def encoder(self) -> Encoder:
        """The packaged encoder, whose vectors are kept."""
        return encoders.load(cache=Cache(self.work / "vectors"))

    @property
    def exports(self) -> Path:
        """Keeps exported encoders."""
        return self.work / "exports"

    @cached_property
    def helpline(self) -> Schema:
        """The schema of both helpline files."""
        return schemas.load("helpline")

    def examples(self, name: str) -> list[Example]:
        """Return the rows of a helpline file."""
        rows: list[Example] = self._once(name, lambda: examples.read(self.data / name, self.helpline))
        return rows

    def banking(self, name: str) -> tuple[Schema, list[Example]]:
        """Return the schema of the bank's questions, one intent each, and the rows of one file."""
        intents = sorted({row["label"] for row in self._lines(BANKING_TRAIN)})
        schema = self._once("banking", lambda: _schema("choice", intents))
        rows = [
            Example(id=f"{name}-{number}", text=row["text"], labels={"intent": row["label"]})
            for number, row in enumerate(self._lines(name))
        ]
        return schema, rows

    def nlupp(self) -> tuple[Schema, list[Example], list[int]]:
        """Return the schema of the bank's utterances, several intents each, the rows, and the tenth each belongs to."""
        lines = self._lines(NLUPP)
        schema = self._once(
            "nlupp", lambda: _schema("choices", sorted({key for row in lines for key in row["labels"]}))
        )
        rows = [
            Example(id=f"{NLUPP}-{number}", text=row["text"], labels={"intent": row["labels"]})
            for number, row in enumerate(lines)
        ]
        return schema, rows, [row["fold"] // 2 for row in lines]

    def do(self, study: Study, name: str) -> Found:
        """Return what a part of a study found: from its file, or by doing it now.

        Raises:
            StudyError: a file of the data is missing.
        """
        digest = self._digest(study)
        place = self.work / "parts" / f"{name}.json"
        if place.exists():
            known = json.loads(place.read_text())
            if known["data"] == digest:
                return dict(known["found"])
        found = study.parts[name](self)
        place.parent.mkdir(parents=True, exist_ok=True)
        draft = place.with_suffix(".part")
        draft.write_text(json.dumps({"data": digest, "found": found}, indent=1))
        draft.rename(place)  # At once, so that a run which is stopped leaves whole parts alone
        return found

    def _digest(self, study: Study) -> str:
        total = hashlib.sha256()
        for name in study.needs:
            try:
                total.update((self.data / name).read_bytes())
            except OSError as exc:
                raise StudyError(f"{self.data / name} cannot be read ({exc.strerror}); {study.title} needs it") from exc
        return total.hexdigest()

    def _lines(self, name: str) -> list[Any]:
        lines: list[Any] = self._once(f"lines of {name}", lambda: self._read(name))
        return lines

    def _read(self, name: str) -> list[Any]:
        with (self.data / name).open() as file:
            return [json.loads(line) for line in file]

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self._rows:
            self._rows[name] = make()
        return self._rows[name]


def sample(rows: Sequence[Example], head: str, count: int, *, seed: int) -> list[Example]:
    """Draw so many rows of each label, or all where there are fewer, in random order."""
    order = np.random.default_rng(seed).permutation(len(rows))
    left: dict[object, int] = {}
    found = []
    for row in (rows[at] for at in order):
        label = row.labels[head]
        if left.setdefault(label, count) > 0:
            left[label] -= 1
            found.append(row)
    return found


def _schema(kind: str, keys: Sequence[str]) -> Schema:
    """Make a schema of one head whose labels are named as the data names them."""
    lines = ['name = "bank"', "version = 1", 'title = "Bank"', "[[heads]]", 'key = "intent"', 'name = "Intent"']
    lines.append(f'kind = "{kind}"')
    for key in keys:
        name = key.replace("_", " ").strip("? ").capitalize()
        lines += ["[[heads.labels]]", f"key = {json.dumps(key)}", f"name = {json.dumps(name)}"]
        lines.append(f"definition = {json.dumps(f'The customer asks about this: {name.lower()}.')}")
    return schemas.parse("\n".join(lines))
