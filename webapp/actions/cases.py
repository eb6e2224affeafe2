"""Creating cases, wherever they come from: the one place that does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import TypeAlias

from django.db import IntegrityError, OperationalError
from django.utils import timezone
from psycopg.errors import DeadlockDetected, UniqueViolation

from ml import policy
from ml.policy import Policy
from ml.types import Example
from webapp.actions import feedback
from webapp.casefiles.cleaning import hash_of
from webapp.casefiles.columns import moment
from webapp.models import Case, CaseState, CaseText, Conversation, Schema

Key: TypeAlias = tuple[str, str]  # Source and external id

MOST_TRIES = 5  # At a chunk; each time that fails, somebody else wrote some of it
MET_ANOTHER = (UniqueViolation.sqlstate, DeadlockDetected.sqlstate)


def create(
    schema: Schema, rules: Policy, examples: Sequence[Example], *, answered: AbstractSet[Key] = frozenset()
) -> list[Case]:
    """Create cases that are not known yet. Predicting them is asked for by the caller.

    A case whose heads that route come labelled is decided, unless it is drawn for the audit.

    Args:
        answered: the cases that somebody answered whose answers the caller stores, beside those with labels.
    """
    conversations = _conversations(examples)
    made = [_case(schema, rules, example, conversations, answered) for example in examples]
    for case, example in zip(made, examples, strict=True):
        if not case.is_audit and rules.thresholds.keys() <= example.labels.keys():
            case.state = CaseState.DECIDED
    created = Case.objects.bulk_create(made)
    CaseText.objects.bulk_create(
        CaseText(case=case, text=example.text) for case, example in zip(created, examples, strict=True)
    )
    feedback.attach(created)
    return created


def known(keys: Iterable[Key]) -> dict[Key, Case]:
    """Return the cases that are there already."""
    keys = set(keys)
    found = Case.objects.select_related("schema").filter(
        source__in={source for source, _ in keys}, external_id__in={name for _, name in keys}
    )
    return {key_of(case): case for case in found if key_of(case) in keys}


def key_of(case: Case) -> Key:
    """Return what a case is known by."""
    return case.source, case.external_id


def met_another(exc: IntegrityError | OperationalError) -> bool:
    """Whether writing failed because somebody else wrote the same cases meanwhile, which are known the next time."""
    return getattr(exc.__cause__, "sqlstate", "") in MET_ANOTHER


def _case(
    schema: Schema,
    rules: Policy,
    example: Example,
    conversations: dict[Key, Conversation],
    answered: AbstractSet[Key],
) -> Case:
    is_audit = policy.is_audited(example.source, example.id, salt=schema.audit_salt, share=rules.audit_share)
    return Case(
        schema=schema,
        source=example.source,
        external_id=example.id,
        conversation=conversations.get((example.source, example.conversation)),
        side=policy.side_of(
            example.source,
            example.conversation or example.id,
            is_audit=is_audit,
            has_labels=bool(example.labels) or (example.source, example.id) in answered,
        ),
        is_audit=is_audit,
        metadata=example.metadata,
        text_hash=hash_of(example.text),
        text_length=len(example.text),
        sent_at=moment(example.sent_at),
        received_at=timezone.now(),
    )


def _conversations(examples: Iterable[Example]) -> dict[Key, Conversation]:
    keys = {(example.source, example.conversation) for example in examples if example.conversation}
    Conversation.objects.bulk_create(
        (Conversation(source=source, external_id=name) for source, name in sorted(keys)), ignore_conflicts=True
    )
    found = Conversation.objects.filter(
        source__in={source for source, _ in keys}, external_id__in={name for _, name in keys}
    )
    return {(row.source, row.external_id): row for row in found}
