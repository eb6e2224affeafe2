"""Bringing label schemas and their policies into the database."""

from __future__ import annotations

import secrets

from django.contrib.auth.models import User
from django.db import transaction

from ml import policy, schema
from webapp.models import ModelKind, ModelVersion, Policy, Schema, SchemaVersion


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


def set_policy(row: Schema, values: policy.Policy, *, reason: str, by: User | None) -> Policy:
    """Put a policy in force; the earlier ones stay as its history."""
    return Policy.objects.create(schema=row, values=values.as_json(), reason=reason, created_by=by)
