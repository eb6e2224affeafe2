"""Importing files of cases: a preview that writes nothing, and the import itself, which can be repeated.

A case is known by its source and external id. A row that is already there as it stands changes nothing; one with other
labels adds an annotation; one with another text is reported and left out, since decisions were made on the old text.
A task of a Label Studio export brings along what each of its annotators said.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TypeAlias

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, OperationalError, transaction
from django.db.models import F
from django.utils import timezone

from annotate import files
from annotate.files import Said
from ml.types import Example, Labels
from webapp.actions import audit, cases, events, flags, imported_answers, labels, outbox
from webapp.casefiles import rows
from webapp.casefiles.cleaning import clean, hash_of, moved
from webapp.casefiles.columns import LONGEST, Columns, Fault
from webapp.casefiles.report import Report
from webapp.errors import UnreadableFile
from webapp.models import (
    Annotation,
    Annotator,
    AnnotatorKind,
    Case,
    CaseState,
    Event,
    Import,
    ImportState,
    Label,
    Origin,
    Schema,
    SchemaVersion,
)
from webapp.queries import asks, schemas

CHUNK = 500
LOOKED_AT = 1000  # Rows whose columns are looked at before the first is taken in
DEFAULT_SOURCE = "import"

Read: TypeAlias = tuple[int, Example, tuple[Said, ...]]  # The number of the row, the case, and what people said of it


def open_import(
    schema: Schema, path: Path, *, name: str, mapping: dict[str, str], source: str, by: User | None
) -> Import:
    """Record that a file is to be imported; nothing of it is read yet but its hash."""
    row = unsaved(schema, name=name, mapping=mapping, source=source)
    with path.open("rb") as file:
        row.digest = hashlib.file_digest(file, "sha256").hexdigest()
    row.created_by = by
    row.save()
    audit.record(by, "import opened", f"import {row.pk}", bytes=path.stat().st_size)
    return row


def unsaved(schema: Schema, *, name: str, mapping: dict[str, str], source: str) -> Import:
    """Return an import that is in no table, as a preview needs it that nobody can confirm.

    Raises:
        UnreadableFile: the source is too long to be stored.
    """
    source = clean(source) or DEFAULT_SOURCE
    if len(source) > LONGEST["source"]:
        raise UnreadableFile(f"source has {len(source)} characters; expected at most {LONGEST['source']}")
    # Of a long name the end is kept: it says of what kind the file is
    return Import(schema=schema, name=clean(name)[-200:], source=source, mapping=mapping)


def preview(row: Import, path: Path) -> Report:
    """Read the whole file and say what an import would find; nothing is written."""
    report = Report()
    for _number, example, said in _read(row, path, report):
        report.labelled.update(example.labels.keys() | {head for one in said for head in one.labels})
    return report


def apply(row: Import, path: Path, *, progress: Callable[[int], None] = lambda done: None) -> Report:
    """Import the file in chunks, each in a transaction of its own; a second time changes nothing."""
    report = Report()
    row.state = ImportState.RUNNING
    row.save(update_fields=["state"])
    writer = _Writer(row, report)
    try:
        for chunk in _chunks(_read(row, path, report)):
            writer.write(chunk)
            progress(report.rows)
    except UnreadableFile as exc:
        _finish(row, report, ImportState.FAILED, failure=str(exc)[:500])
        raise
    _finish(row, report, ImportState.DONE)
    return report


def _finish(row: Import, report: Report, state: ImportState, failure: str = "") -> None:
    row.state, row.report, row.failure, row.finished_at = state, report.as_json(), failure, timezone.now()
    row.save(update_fields=["state", "report", "failure", "finished_at"])
    audit.record(row.created_by, f"import {state.label}", f"import {row.pk}", new=report.new, refused=report.refused)


def _read(row: Import, path: Path, report: Report) -> Iterator[Read]:
    """Yield the good rows; count and report the rest."""
    columns = Columns(schemas.newest_version(row.schema).parsed, row.mapping)
    if seen := _columns_at_first(path):
        columns.expect(seen)
    report.columns = columns.found
    first: dict[int, int] = {}  # The row of each case, by the hash of its key
    try:
        for found in rows.read(path, max_bytes=settings.IMPORT_MAX_BYTES):
            report.rows += 1
            if found.values is None:
                example, faults = None, [Fault(found.number, "", found.problem)]
            else:
                example, faults = columns.read(found.number, found.values, source=row.source)
            for fault in faults:
                report.add(fault)
            if example is None:
                report.refused += 1
            else:
                report.good += 1
                begun = first.setdefault(_hashed([example.source, example.id]), found.number)
                if begun == found.number:
                    report.cases += 1
                else:
                    report.repeat(found.number, begun)
                yield found.number, example, _heard(columns, found, report)
    finally:
        report.warnings = columns.warnings()


def _heard(columns: Columns, found: rows.Row, report: Report) -> tuple[Said, ...]:
    """Read what people said of a row, if it is a task of an export; count and report what cannot be read."""
    heard = []
    text = columns.text_of(found.values or {})
    for annotation in found.annotations:
        said = files.read(columns.schema, clean(annotation), text)
        heard.append(replace(said, labels=moved(columns.schema, said.labels, text)))
        for problem in said.problems:
            report.add(Fault(found.number, problem.head, problem.message, problem.unknown))
    return tuple(heard)


def _columns_at_first(path: Path) -> list[str]:
    """Return the columns of the first rows, in order."""
    seen: dict[str, None] = {}
    with suppress(UnreadableFile):  # Said when the row is come to: those before it are good
        for found in islice(rows.read(path, max_bytes=settings.IMPORT_MAX_BYTES), LOOKED_AT):
            seen |= dict.fromkeys(found.values or ())
    return list(seen)


def _chunks(examples: Iterable[Read]) -> Iterator[list[Read]]:
    chunk: list[Read] = []
    try:
        for item in examples:
            chunk.append(item)
            if len(chunk) == CHUNK:
                yield chunk
                chunk = []
    except UnreadableFile:  # The rows before the break are good
        if chunk:
            yield chunk
        raise
    if chunk:
        yield chunk


class _Writer:
    """Writes chunks of one import. Holds what stays the same between chunks."""

    def __init__(self, row: Import, report: Report) -> None:
        self.row = row
        self.report = report
        self.version: SchemaVersion = schemas.newest_version(row.schema)
        self.policy = schemas.policy(row.schema).parsed
        self.seen: dict[int, int] = {}  # What this file said first of each case, both as hashes: there may be a million
        self._annotator: Annotator | None = None

    @property
    def annotator(self) -> Annotator:
        """The annotator that stands for this import; made with its first label."""
        if self._annotator is None:
            name = f"import {self.row.pk}: {self.row.name}"
            self._annotator, _ = Annotator.objects.get_or_create(
                imported_by=self.row, defaults={"kind": AnnotatorKind.IMPORT, "name": name[:200]}
            )
        return self._annotator

    def write(self, chunk: list[Read]) -> None:
        """Write one chunk; once more where another import wrote the same cases meanwhile, which are known then."""
        whole = self.report
        for left in reversed(range(cases.MOST_TRIES)):
            self.report = Report()
            try:
                with transaction.atomic():
                    self._write(chunk)
                break
            except (IntegrityError, OperationalError) as exc:
                self._annotator = None  # It may have been made by what was rolled back
                if not left or not cases.met_another(exc):
                    raise
        whole.take_in(self.report)
        self.report = whole

    def _write(self, chunk: list[Read]) -> None:
        """Write new cases, and new annotations of known ones."""
        known = cases.known((example.source, example.id) for _, example, _ in chunk)
        said = self._said(known.values())
        new: dict[tuple[str, str], Example] = {}
        relabelled: list[tuple[Case, Labels]] = []
        heard: dict[tuple[str, str], tuple[Said, ...]] = {}
        for number, example, people in chunk:
            key = (example.source, example.id)
            case = known.get(key)
            if reason := self._why_refused(example, case, new.get(key)):
                self.report.good -= 1
                self.report.refused += 1
                self.report.add(Fault(number, "id", f"id {example.id} {reason}; the row was left out"))
                continue
            heard[key] = (*heard.get(key, ()), *people)
            if case is None and key not in new:
                new[key] = example
            elif case is not None and any(said[case.pk].get(head) != answer for head, answer in example.labels.items()):
                relabelled.append((case, example.labels))
            else:
                self.report.unchanged += 1
        answered = {key for key, people in heard.items() if any(one.labels for one in people)}
        created = cases.create(self.row.schema, self.policy, list(new.values()), answered=answered)
        self._annotate([(case, new[case.source, case.external_id].labels) for case in created])
        events.tell(Event.DECIDED, (case for case in created if case.state == CaseState.DECIDED))
        self._relabel(relabelled)
        self._hear(heard, untouched=known.keys() - {cases.key_of(case) for case, _ in relabelled})
        self.report.new += len(created)
        self.report.relabelled += len(relabelled)
        self.report.audited += sum(case.is_audit for case in created)

    def _hear(self, heard: dict[tuple[str, str], tuple[Said, ...]], *, untouched: AbstractSet[tuple[str, str]]) -> None:
        """Store what people said of cases; those of `untouched` that it is news of were counted as unchanged so far."""
        heard = {key: said for key, said in heard.items() if said}
        for case in imported_answers.store(cases.known(heard), heard, self.version):
            self.report.labelled.update({head for said in heard[cases.key_of(case)] for head in said.labels})
            imported_answers.settle(case, rules=self.policy)
            self._decide(case)
            if cases.key_of(case) in untouched:
                self.report.unchanged -= 1
                self.report.relabelled += 1

    def _why_refused(self, example: Example, case: Case | None, earlier: Example | None) -> str:
        """Say why a row contradicts what is known or what the file said before; the empty text if it does not."""
        if case is not None and case.schema_id != self.row.schema_id:
            return f"is known as a case of {case.schema.name}"
        known_hash = case.text_hash if case else hash_of(earlier.text) if earlier else ""
        if known_hash and known_hash != hash_of(example.text):
            return "is known with another text"
        said = _hashed(example.labels)
        if self.seen.setdefault(_hashed([example.source, example.id]), said) != said:
            return "stands in this file twice, with other labels"
        return ""

    def _said(self, known: Iterable[Case]) -> dict[int, Labels]:
        """Return what the columns of files have said of each case so far; people whom a file names are heard apart."""
        said: dict[int, Labels] = defaultdict(dict)
        by_columns = Annotation.objects.filter(case__in=known, annotator__kind=AnnotatorKind.IMPORT)
        for annotation in by_columns.order_by("id"):
            said[annotation.case_id] |= annotation.answers
        return said

    def _annotate(self, labelled: list[tuple[Case, Labels]]) -> None:
        """Store what the file says of new cases: nobody has answered them yet, so these are the labels that stand."""
        annotations = self._store(labelled)
        Label.objects.bulk_create(
            Label(case_id=found.case_id, head=head, answer=answer, rule="import", annotation=found)
            for found in annotations
            for head, answer in found.answers.items()
        )

    def _relabel(self, relabelled: list[tuple[Case, Labels]]) -> None:
        """Store what the file says of known cases; what people answered stands before it."""
        rows = Case.objects.select_for_update().filter(pk__in=[case.pk for case, _ in relabelled])
        locked = {case.pk: case for case in rows.order_by("pk")}  # As they are now: somebody may have acted meanwhile
        self._store([(locked[case.pk], answers) for case, answers in relabelled])
        for case in locked.values():
            if not labels.resolve(case):
                self._decide(case)

    def _decide(self, case: Case) -> None:
        """Take a case for decided once files label every head that routes, as one that comes with its labels is.

        Where annotators have answered, it is theirs to decide, and a supervisor who sent it back waits for them.
        """
        known = set(case.labels.filter(annotation__origin=Origin.IMPORT).values_list("head", flat=True))
        is_open = case.state in (CaseState.NEW, CaseState.ACCEPTED, CaseState.LABELLING)
        is_known = not case.is_audit and self.policy.thresholds.keys() <= known
        if is_open and is_known and not asks.waiting([case.pk]):
            Case.objects.filter(pk=case.pk).update(state=CaseState.DECIDED, revision=F("revision") + 1)
            flags.resolve_all(case)
            outbox.want_out([case])
            events.tell(Event.DECIDED, [case])

    def _store(self, labelled: list[tuple[Case, Labels]]) -> list[Annotation]:
        labelled = [(case, answers) for case, answers in labelled if answers]
        for _, answers in labelled:
            self.report.labelled.update(answers.keys())
        return Annotation.objects.bulk_create(
            Annotation(
                case=case,
                annotator=self.annotator,
                schema_version=self.version,
                origin=Origin.IMPORT,
                answers=answers,
            )
            for case, answers in labelled
        )


def _hashed(value: object) -> int:
    """Return a hash of eight bytes: two of a million values are the same once in thirty million files."""
    return int.from_bytes(hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=8).digest())
