"""Taking in cases that other programs send, and taking them back."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from uuid import uuid4

from django.db import IntegrityError, OperationalError, transaction

from ml.types import Example
from webapp import tasks
from webapp.actions import audit, cases, flags, outbox
from webapp.casefiles.cleaning import hash_of
from webapp.casefiles.columns import Columns
from webapp.models import Case, CaseState, Schema, Token
from webapp.queries import schemas


@dataclass(frozen=True, slots=True)
class Received:
    """What became of one item. It has no case if it was refused, for reasons that `problems` tell.

    It `is_taken` if the external id is that of another case.
    """

    external_id: str
    case: Case | None
    is_new: bool = False
    is_taken: bool = False
    problems: tuple[str, ...] = ()


def receive(
    schema: Schema,
    items: Sequence[Mapping[str, Any]],
    *,
    source: str,
    by: Token | None,
    key: str = "",
    is_predicted: bool = False,
) -> list[Received]:
    """Create a case for each good item that is not known yet; return what became of each, in order.

    A case is known by its source and external id; a known one is not changed. An item without an external id gets one:
    made from the key and its place, so that the same request creates nothing a second time, else a random one.

    Args:
        items: values by field of a case, as a row of a file holds them.
        key: of the request.
        is_predicted: whether the caller predicts them itself; a worker does where it then dies.
    """
    columns = Columns(schemas.newest_version(schema).parsed, {})
    named = [{**item, "id": item.get("id") or _made_id(key, number)} for number, item in enumerate(items)]
    read = [columns.read(number, item, source=source) for number, item in enumerate(named)]
    received = [
        Received(example.id if example else str(item["id"]), None, problems=tuple(one.message for one in faults))
        for item, (example, faults) in zip(named, read, strict=True)
    ]
    examples = [example and replace(example, labels={}) for example, _ in read]
    for left in reversed(range(cases.MOST_TRIES)):
        try:
            with transaction.atomic():
                return _write(schema, examples, received, by, is_predicted=is_predicted)
        except (IntegrityError, OperationalError) as exc:
            if not left or not cases.met_another(exc):
                raise
    raise AssertionError("the last try returns or raises")


@transaction.atomic
def withdraw(case: Case, *, by: Token) -> None:
    """Take a case back: nobody is asked about it any more, and no answer moves it. A second time changes nothing."""
    case = Case.objects.select_for_update().get(pk=case.pk)
    if case.state in (CaseState.WITHDRAWN, CaseState.ERASED):
        return
    case.state, case.held_by, case.held_until = CaseState.WITHDRAWN, None, None
    case.revision += 1
    case.save(update_fields=["state", "held_by", "held_until", "revision"])
    flags.resolve_all(case)
    outbox.want_out([case])
    audit.record(by.user, "case withdrawn", f"case {case.pk}", token=by.pk)


def _write(
    schema: Schema,
    examples: Sequence[Example | None],
    received: Sequence[Received],
    by: Token | None,
    *,
    is_predicted: bool,
) -> list[Received]:
    good = [example for example in examples if example is not None]
    there = cases.known((example.source, example.id) for example in good)
    new: dict[cases.Key, Example] = {}
    for example in good:
        if (example.source, example.id) not in there:
            new.setdefault((example.source, example.id), example)
    created = cases.create(schema, schemas.policy(schema).parsed, list(new.values()))
    if created:
        audit.record(by.user if by else None, "cases received", str(by or schema), cases=len(created))
        if not is_predicted:
            transaction.on_commit(partial(tasks.predict_cases.delay, schema.pk))
    fresh = {cases.key_of(case): case for case in created}
    results = []
    for sent, one in zip(examples, received, strict=True):
        if sent is None:
            results.append(one)
            continue
        place = (sent.source, sent.id)
        case = there.get(place) or fresh[place]
        if reason := _why_refused(schema, sent, case):
            results.append(replace(one, is_taken=True, problems=(*one.problems, reason)))
        else:
            results.append(replace(one, case=case, is_new=new.get(place) is sent))
    return results


def _why_refused(schema: Schema, example: Example, case: Case) -> str:
    if case.schema_id != schema.pk:
        return "the external id is known as a case of another schema"
    if case.text_hash != hash_of(example.text):
        return "the external id is known with another text"
    return ""


def _made_id(key: str, number: int) -> str:
    if not key:
        return f"made-{uuid4().hex}"
    return f"made-{hashlib.sha256(f'{number} {key}'.encode('utf-8', 'replace')).hexdigest()[:32]}"
