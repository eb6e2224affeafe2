"""Taking in a model folder that was made elsewhere, as a version that an admin can put in use."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction

from ml import registry
from ml.errors import InputError
from ml.schema import Head
from ml.schema import Schema as ParsedSchema
from webapp.actions import audit, versions
from webapp.errors import NotRegistrable
from webapp.models import ModelVersion, Schema, SchemaVersion
from webapp.queries import schemas


@dataclass(frozen=True, slots=True)
class Given:
    """A model folder that fits the newest version of its schema."""

    folder: Path
    schema_version: SchemaVersion
    manifest: dict[str, Any]
    digest: str


def check(folder: Path) -> Given:
    """Read what a model folder says of itself.

    Raises:
        NotRegistrable: it is no whole model folder, is registered already, or does not fit the registered schema.
    """
    try:
        manifest = registry.checked_manifest(folder)
        parsed = registry.schema_of(manifest)
        digest = registry.manifest_hash(folder)
    except InputError as exc:
        raise NotRegistrable(str(exc)) from exc
    row = Schema.objects.filter(name=parsed.name).first()
    if row is None:
        raise NotRegistrable(f"the model is of the schema {parsed.name}, which is not registered")
    version = schemas.newest_version(row)
    _refuse_unfit(parsed, version.parsed, manifest["heads"])
    found = Given(folder, version, manifest, digest)
    _known(found)
    return found


def store(given: Given, measured: versions.Measured) -> ModelVersion:
    """Copy a model folder into the model storage and store it as a trained version, which nothing uses yet.

    Without test cases nothing is stored of how good it is, and it can be registered again once there are some.

    Raises:
        NotRegistrable: it cannot be copied, or another process has registered it meanwhile.
    """
    name = f"{given.schema_version.schema.name}-registered-{given.digest[:12]}"
    try:
        _copy(given, Path(settings.MODELS_DIR) / name)
    except InputError as exc:
        raise NotRegistrable(str(exc)) from exc
    with transaction.atomic():
        Schema.objects.select_for_update().get(pk=given.schema_version.schema_id)  # Who else registers it waits here
        found = _known(given)
        if found is None:
            found = versions.add(given.schema_version, folder=name, manifest=given.manifest, manifest_hash=given.digest)
            audit.record(None, "version registered", f"version {found.pk}")
        if measured.figures:
            versions.record_figures(found, measured)
    return found


def _known(given: Given) -> ModelVersion | None:
    """Return the version that a folder is registered as, unless it was measured too."""
    found = given.schema_version.schema.model_versions.filter(manifest_hash=given.digest).first()
    if found is not None and found.evaluations.exists():
        raise NotRegistrable(f"{given.folder} is registered already, as version {found.number}")
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


def _copy(given: Given, target: Path) -> None:
    if target.exists() and registry.manifest_hash(target) == given.digest:
        registry.checked_manifest(target)
        return  # From an attempt that died before its row was stored
    with registry.draft(target) as draft:
        for name in (*given.manifest["files"], registry.MANIFEST):
            if Path(name).name != name:
                raise registry.ModelFolderError(
                    f"{given.folder} names the file {name!r}; expected one of the folder itself"
                )
            shutil.copyfile(given.folder / name, draft / name)
        registry.checked_manifest(draft)
        if registry.manifest_hash(draft) != given.digest:
            raise registry.ModelFolderError(f"{given.folder} was changed while it was measured")
