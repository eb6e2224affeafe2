"""Taking in a model folder that was made elsewhere, as a version that an admin can put in use."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction

from ml import registry
from ml.errors import InputError
from ml.schema import Head
from ml.schema import Schema as ParsedSchema
from webapp.actions import audit
from webapp.errors import NotRegistrable
from webapp.models import ModelKind, ModelVersion, Schema
from webapp.queries import schemas


def register(folder: Path, *, by: User | None = None) -> ModelVersion:
    """Copy a model folder into the model storage and store it as a trained version, which nothing uses yet.

    Raises:
        NotRegistrable: it is no whole model folder, is registered already, or does not fit the registered schema.
    """
    try:
        manifest = registry.checked_manifest(folder)
        parsed = registry.schema_of(manifest)
        digest = registry.manifest_hash(folder)
        row = Schema.objects.filter(name=parsed.name).first()
        if row is None:
            raise NotRegistrable(f"the model is of the schema {parsed.name}, which is not registered")
        version = schemas.newest_version(row)
        _refuse_unfit(parsed, version.parsed, manifest["heads"])
        name = f"{row.name}-registered-{digest[:12]}"
        _copy(folder, Path(settings.MODELS_DIR) / name, manifest["files"], digest)
    except InputError as exc:
        raise NotRegistrable(str(exc)) from exc
    with transaction.atomic():
        Schema.objects.select_for_update().get(pk=row.pk)  # Numbers count up one at a time
        known = row.model_versions.filter(manifest_hash=digest).first()
        if known is not None:
            raise NotRegistrable(f"{folder} is registered already, as version {known.number}")
        newest = row.model_versions.order_by("-number").first()
        found = ModelVersion.objects.create(
            schema=row,
            schema_version=version,
            kind=ModelKind.TRAINED,
            number=(newest.number if newest else 0) + 1,
            folder=name,
            manifest=manifest,
            manifest_hash=digest,
        )
        audit.record(by, "version registered", f"version {found.pk}")
    return found


def _refuse_unfit(given: ParsedSchema, wanted: ParsedSchema, keys: list[str]) -> None:
    for key in keys:
        if key not in wanted.by_key:
            heads = ", ".join(wanted.by_key)
            raise NotRegistrable(f"the model answers {key}; expected heads of {wanted.name} {wanted.version}: {heads}")
        mine, theirs = _answers(given.head(key)), _answers(wanted.head(key))
        if mine != theirs:
            other = [str(answer) for answer in (*mine, *theirs) if answer not in mine or answer not in theirs]
            raise NotRegistrable(
                f"{key} of the model differs from that of {wanted.name} {wanted.version} in {', '.join(other[:8])}"
            )


def _answers(head: Head) -> dict[str, Any]:
    """Return what a head may answer: its kind, and its labels with their parents or its criteria."""
    labels = {label.key: label.parent for label in head.labels}
    criteria = {f"{group.key}.{criterion.key}": None for group in head.groups for criterion in group.criteria}
    return {f"kind {head.kind.value}": None} | labels | criteria


def _copy(folder: Path, target: Path, files: list[str], digest: str) -> None:
    if target.exists() and registry.manifest_hash(target) == digest:
        registry.checked_manifest(target)
        return  # From an attempt that died before its row was stored
    with registry.draft(target) as draft:
        for name in (*files, registry.MANIFEST):
            if Path(name).name != name:
                raise registry.ModelFolderError(f"{folder} names the file {name!r}; expected one of the folder itself")
            shutil.copyfile(folder / name, draft / name)
        registry.checked_manifest(draft)
