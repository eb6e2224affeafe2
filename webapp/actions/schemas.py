"""Bringing label schemas and their policies into the database."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from ml import policy, schema, surrogates
from ml.gate import Rules
from ml.slices import RulesError
from webapp.actions import audit
from webapp.errors import NotSettable
from webapp.models import ModelKind, ModelVersion, Policy, Schema, SchemaVersion
from webapp.queries import people, schemas
from webapp.queries.schedules import MOST_CASES

MOST_ANNOTATORS = 9  # Of one case
LONGEST_REVEAL = 720.0  # Minutes
BY_HEAD = ("thresholds", "mistake_cost", "disagreement_limits")


@transaction.atomic
def register(parsed: schema.Schema) -> SchemaVersion:
    """Store a schema's document as a version, with a first policy; does nothing if it is known.

    Raises:
        schema.SchemaError: this version number is known with another document.
    """
    row, _ = Schema.objects.get_or_create(
        name=parsed.name, defaults={"title": parsed.title, "audit_salt": secrets.token_hex(16)}
    )
    version, created = SchemaVersion.objects.get_or_create(
        schema=row, number=parsed.version, defaults={"document": parsed.document, "digest": parsed.digest}
    )
    if version.digest != parsed.digest:
        raise schema.SchemaError(
            f"version {parsed.version} of {parsed.name} is known with another document; give this one a new number"
        )
    if created:
        ModelVersion.objects.create(schema_version=version, schema=row, kind=ModelKind.DEFINITIONS, number=0)
    if not row.policies.exists():
        values = policy.Policy.default(parsed).as_json()
        Policy.objects.create(schema=row, values=values, reason="the policy that Caseloop begins with")
    return version


def register_shipped() -> list[SchemaVersion]:
    """Register the schemas that come with Caseloop."""
    return [register(schema.load(name)) for name in schema.shipped()]


def policy_of(parsed: schema.Schema, values: object) -> policy.Policy:
    """Return the policy that values describe; what they leave out is as in the first policy of a schema.

    Raises:
        NotSettable: a key or value cannot be; the message begins with its name, as "gate.least_cases", and says what
            was found and what was expected.
    """
    if not isinstance(values, dict):
        raise NotSettable(f"the policy is {_kind(values)}; expected an object with named values")
    known = [field.name for field in fields(policy.Policy)]
    for key in values:
        if key not in known:
            raise NotSettable(f"{key} is not a value of a policy; expected {', '.join(known)}")
    read: dict[str, Callable[[object], object]] = {
        "thresholds": lambda value: _by_head(parsed, "thresholds", value, most=1.0),
        "mistake_cost": lambda value: _by_head(parsed, "mistake_cost", value),
        "urgent_threshold": lambda value: _number("urgent_threshold", value, most=1.0),
        "audit_share": lambda value: _number("audit_share", value, most=1.0),
        "missed_urgent_cost": lambda value: _number("missed_urgent_cost", value),
        "doubling_hours": lambda value: _number("doubling_hours", value, least=0.01),
        "overlap_share": lambda value: _number("overlap_share", value, most=1.0),
        "overlap_annotators": _annotators,
        "disagreement_limits": lambda value: _by_head(parsed, "disagreement_limits", value, most=1.0),
        "train_after": _train_after,
        "gate": _gate,
        "hidden_labels": lambda value: _hidden(parsed, value),
        "hide_from_reviewers": _flag,
        "phone_region": _region,
        "reveal_minutes": lambda value: _number("reveal_minutes", value, least=1.0, most=LONGEST_REVEAL),
    }
    found = policy.Policy.default(parsed).as_json() | {key: read[key](value) for key, value in values.items()}
    if not found["thresholds"]:
        raise NotSettable("thresholds is empty; expected at least one head: without any, no case would be asked about")
    wanted, there = found["overlap_annotators"], people.active_annotators()
    if found["overlap_share"] and there is not None and wanted > there:
        raise NotSettable(
            f"overlap_annotators is {wanted}; expected at most {there}, for there are no more active annotators: "
            "cases would wait for the others for ever"
        )
    return policy.Policy(**found)


def _by_head(parsed: schema.Schema, name: str, value: object, *, most: float = math.inf) -> Mapping[str, float]:
    if not isinstance(value, dict):
        raise NotSettable(f"{name} is {_kind(value)}; expected an object of head and number")
    for key in value:
        if key not in parsed.by_key:
            raise NotSettable(
                f"{name}.{key} is not a head of {parsed.name}; expected one of {', '.join(parsed.by_key)}"
            )
    return {key: _number(f"{name}.{key}", number, most=most) for key, number in value.items()}


def _number(name: str, value: Any, *, least: float = 0.0, most: float = math.inf) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or not least <= value <= most:
        bound = f"from {least:g} to {most:g}" if math.isfinite(most) else f"of at least {least:g}"
        raise NotSettable(f"{name} is {value if is_number else _kind(value)}; expected a number {bound}")
    return float(value)


def _annotators(value: object) -> int:
    if not isinstance(value, int) or not 2 <= value <= MOST_ANNOTATORS:
        raise NotSettable(f"overlap_annotators is {_kind(value)}; expected a whole number from 2 to {MOST_ANNOTATORS}")
    return value


def _train_after(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST_CASES:
        raise NotSettable(f"train_after is {_kind(value)}; expected a whole number from 0 (never) to {MOST_CASES}")
    return value


def _gate(value: object) -> object:
    try:
        Rules.from_json(value)
    except RulesError as exc:
        raise NotSettable(str(exc)) from exc
    return value


def _hidden(parsed: schema.Schema, value: object) -> list[str]:
    known = [label.key for head in parsed.of_kind(schema.Kind.SPANS) for label in head.labels]
    if not isinstance(value, list):
        raise NotSettable(f"hidden_labels is {_kind(value)}; expected a list of labels of entities")
    for key in value:
        if key not in known:
            found = ", ".join(known) or "none, for the schema has no entities"
            raise NotSettable(f"hidden_labels holds {_kind(key)}; expected labels of entities: {found}")
    return list(dict.fromkeys(value))


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise NotSettable(f"hide_from_reviewers is {_kind(value)}; expected true or false")
    return value


def _region(value: object) -> str:
    if not isinstance(value, str) or not surrogates.is_region(value):
        raise NotSettable(f'phone_region is {_kind(value)}; expected a country as "KE", or "" for none')
    return value


def _kind(value: object) -> str:
    return f"{value!r:.60}"


def without_lost_heads(parsed: schema.Schema, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of an older policy without heads that the schema has no more: they route nothing."""
    return {
        key: {head: number for head, number in value.items() if head in parsed.by_key} if key in BY_HEAD else value
        for key, value in values.items()
    }


@transaction.atomic
def set_policy(
    row: Schema, values: policy.Policy, *, reason: str, by: User | None, instead_of: int | None = None
) -> Policy:
    """Put a policy in force; the earlier ones stay as its history. What is predicted from then on is routed by it.

    Args:
        instead_of: the policy that they saw in force who ask; None where that makes no difference.

    Raises:
        NotSettable: another is in force by now.
    """
    newest = Schema.objects.select_for_update().get(pk=row.pk).policies.order_by("-id").first()
    if newest is not None and instead_of not in (None, newest.pk):
        who = newest.created_by or "Caseloop"
        raise NotSettable(f"{who} changed the policy meanwhile: {newest.reason}. Look at it, and change it again.")
    made = Policy.objects.create(schema=row, values=values.as_json(), reason=reason, created_by=by)
    audit.record(by, "policy set", f"policy {made.pk}", instead_of=newest.pk if newest else None)
    return made


def restore_policy(earlier: Policy, *, reason: str, by: User | None, instead_of: int | None = None) -> Policy:
    """Put an earlier policy in force again, as a new row.

    Raises:
        NotSettable: its values cannot be any more, or another is in force by now.
    """
    parsed = schemas.newest_version(earlier.schema).parsed
    values = policy_of(parsed, without_lost_heads(parsed, earlier.values))
    return set_policy(earlier.schema, values, reason=reason, by=by, instead_of=instead_of)
