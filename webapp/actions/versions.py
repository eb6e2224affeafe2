"""Storing versions, and how they do on cases with known answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from webapp.models import Evaluation, ModelKind, ModelVersion, Schema, SchemaVersion, Snapshot


@dataclass(frozen=True, slots=True)
class Measured:
    """How a version does on the test side of a snapshot, and how the champion does there, if there is one."""

    snapshot: Snapshot
    figures: dict[str, Any]
    champion: ModelVersion | None = None
    champion_figures: dict[str, Any] | None = None
    gate: dict[str, Any] = field(default_factory=dict)  # Both beside each other, and the verdict


def add(schema_version: SchemaVersion, *, folder: str, manifest: dict[str, Any], manifest_hash: str) -> ModelVersion:
    """Store a version under the next number of its schema; the caller's transaction holds the schema from then on."""
    schema = Schema.objects.select_for_update().get(pk=schema_version.schema_id)
    newest = schema.model_versions.order_by("-number").first()
    return ModelVersion.objects.create(
        schema=schema,
        schema_version=schema_version,
        kind=ModelKind.TRAINED,
        number=(newest.number if newest else 0) + 1,
        folder=folder,
        manifest=manifest,
        manifest_hash=manifest_hash,
    )


def record_figures(version: ModelVersion, measured: Measured) -> None:
    """Store the figures of a version, and those of the champion where it was not measured there before."""
    if measured.champion is not None and measured.champion_figures is not None:
        Evaluation.objects.get_or_create(
            version=measured.champion, snapshot=measured.snapshot, defaults={"heads": measured.champion_figures}
        )
    Evaluation.objects.create(
        version=version,
        snapshot=measured.snapshot,
        heads=measured.figures,
        compared_with=measured.champion,
        gate=measured.gate,
    )
