"""Reading schemas, the policy in force and the version in use."""

from __future__ import annotations

from ml.schema import Head
from webapp.models import ModelKind, ModelVersion, Policy, Promotion, Schema, SchemaVersion


def newest_version(schema: Schema) -> SchemaVersion:
    """Return the schema version that new work is done under."""
    return schema.versions.order_by("-number")[0]


def heads() -> list[Head]:
    """Return the heads of all schemas, as their newest versions have them."""
    newest = SchemaVersion.objects.order_by("-schema__name", "-number").distinct("schema__name")
    return [head for version in newest for head in version.parsed.heads]


def policy(schema: Schema) -> Policy:
    """Return the policy in force."""
    return schema.policies.order_by("-id")[0]


def champion(schema: Schema) -> ModelVersion | None:
    """Return the trained version in use: the one of the newest ledger row, None before the first promotion."""
    promotion = Promotion.objects.filter(schema=schema).select_related("version").order_by("-id").first()
    return promotion.version if promotion else None


def answering_version(schema: Schema) -> ModelVersion:
    """Return the version that answers now: the champion, or the label definitions before there is one."""
    found = champion(schema)
    if found is None:
        found = ModelVersion.objects.get(schema_version=newest_version(schema), kind=ModelKind.DEFINITIONS)
    return found
