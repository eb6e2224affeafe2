"""Putting a new version of a schema in the place of the one before, with work under way."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db import transaction

from ml.schema import Schema as ParsedSchema
from ml.succession import Change
from webapp.actions import audit, labels, outbox, schemas
from webapp.errors import NotApplicable
from webapp.locks import in_turn
from webapp.models import Case, CaseState, SchemaVersion
from webapp.queries import schemas as in_force
from webapp.queries import succession


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying a schema did, in cases."""

    version: SchemaVersion
    translated: int  # Whose labels were resolved again
    asked_again: int  # Decided ones that a label is missing from now, and that go back to annotators


def apply(parsed: ParsedSchema, *, by: User | None, reason: str = "", before: int | None = None) -> Applied:
    """Register a version, translate the labels of all cases, and send those whose label went away back to people.

    All of it or nothing. Label Studio's project follows with the next delivery; a training that is under way ends as
    one of the version before, and the version in use goes on answering.

    Args:
        before: the version that somebody saw it compared with; None where nobody did.

    Raises:
        NotApplicable: see `preview`; or another version than `before` is in use by now.
    """
    with in_turn(f"schema {parsed.name}"):
        found = succession.preview(parsed)
        if before not in (None, found.old.version):
            raise NotApplicable(f"version {found.old.version} was put in use meanwhile; look at what changes once more")
        touched: set[int] = set()
        for one in found.succession.labels:
            if one.change == Change.ADDED or one.into == one.key:
                continue  # Answers hold keys, and these stay
            rows = succession.of_label(found.schema, found.old.by_key[one.head], one.key)
            touched.update(rows.values_list("case_id", flat=True))
        version = schemas.register(parsed)
        again = [case for pk in sorted(touched) if (case := _translate(pk)) is not None]
        outbox.want_in(again)
        facts: dict[str, object] = {"version": version.number, "translated": len(touched), "asked_again": len(again)}
        facts |= {"reason": reason.strip()} if reason else {}
        audit.record(by, succession.APPLIED, f"schema {parsed.name}", **facts)
        outbox.retry(found.schema)
    return Applied(version, len(touched), len(again))


@transaction.atomic
def _translate(pk: int) -> Case | None:
    """Resolve the labels of a case anew; return it where it was decided and is not any more."""
    case = Case.objects.select_for_update(of=("self",)).select_related("schema", "current_prediction").get(pk=pk)
    labels.resolve(case)
    case.revision += 1
    heads = in_force.newest_version(case.schema).parsed.by_key
    routing = in_force.policy(case.schema).parsed.thresholds.keys() & heads.keys()
    is_lacking = not routing <= set(case.labels.values_list("head", flat=True))
    is_back = case.state == CaseState.DECIDED and is_lacking
    if is_back:
        case.state = CaseState.LABELLING
    case.save(update_fields=["state", "revision"])
    return case if is_back else None
