"""Model folders: safetensors and JSON, never a pickle, each file checked against its SHA-256 before it is read.

manifest.json       schema, configuration, counts, metrics, calibration, encoder, versions and hashes
model.safetensors   the heads; a frozen encoder is named in the manifest, with the hash of its weights
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ml import encoder as encoders
from ml import examples
from ml import schema as schemas
from ml.calibration import HeadCalibration
from ml.encoder import Encoder
from ml.model import CaseModel
from ml.schema import Schema
from ml.training import TrainedModel, as_json
from ml.types import Example

FORMAT = 1  # Raised when an older program could misread a newer folder
MANIFEST = "manifest.json"
HEADS = "model.safetensors"
LIBRARIES = ("torch", "transformers", "safetensors", "tokenizers", "numpy")


class ModelFolderError(ValueError):
    """A model folder is missing, damaged, or of another format; the message names the file and what is wrong."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model read from its folder, ready to predict."""

    schema: Schema
    encoder: Encoder
    network: CaseModel
    calibration: Mapping[str, HeadCalibration]
    manifest: Mapping[str, Any]


def save(trained: TrainedModel, folder: str | Path, *, data_hash: str = "") -> dict[str, Any]:
    """Write a model folder at once: it is complete, or it is not there.

    Args:
        folder: a path that does not exist yet.
        data_hash: what `hash_of` returned for the examples, so that a model can be traced to its data.

    Returns:
        The manifest.

    Raises:
        ModelFolderError: the folder exists already, or cannot be written.
    """
    target = Path(folder)
    if target.exists():
        raise ModelFolderError(f"{target} exists already; models are never overwritten")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as exc:
        raise ModelFolderError(f"{target} cannot be written: {exc.strerror}") from exc
    try:
        save_file({name: value.contiguous() for name, value in trained.network.state_dict().items()}, draft / HEADS)
        manifest = _manifest(trained, data_hash, draft)
        (draft / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False), encoding="utf-8")
        draft.chmod(0o755)  # Private to this user until here, but another one may serve the model
        (draft / HEADS).chmod(0o644)
        draft.rename(target)
    except OSError as exc:
        raise ModelFolderError(f"{target} cannot be written: {exc.strerror}") from exc
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return manifest


def load(folder: str | Path) -> LoadedModel:
    """Read a model folder and the encoder that it names.

    Raises:
        ModelFolderError: a file is missing or was changed, the format is another, or the encoder has other weights.
        encoder.EncoderError: the encoder is not on this machine.
    """
    place = Path(folder)
    manifest = read_manifest(place)
    for name, digest in manifest["files"].items():
        if _sha256(place / name) != digest:
            raise ModelFolderError(f"{place / name} is not the file that was saved: its SHA-256 differs")
    schema = schemas.parse(manifest["schema"]["document"])
    encoder = encoders.load(manifest["encoder"]["name"])
    if encoder.digest != manifest["encoder"]["sha256"]:
        raise ModelFolderError(f"encoder {encoder.name!r} has other weights than those that {place} was trained on")
    network = CaseModel([schema.head(key) for key in manifest["heads"]], encoder.width)
    try:
        network.load_state_dict(load_file(place / HEADS))
    except (SafetensorError, RuntimeError) as exc:
        raise ModelFolderError(f"{place / HEADS} does not fit the manifest beside it") from exc
    calibration = {key: HeadCalibration(**found) for key, found in manifest["calibration"].items()}
    return LoadedModel(schema, encoder, network.eval(), calibration, manifest)


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """Read what a model folder says of itself, without loading the model.

    Raises:
        ModelFolderError: there is no manifest, it is not JSON, or its format is another.
    """
    path = Path(folder) / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise ModelFolderError(f"{path} cannot be read: {exc.strerror}; expected a model folder") from exc
    except ValueError as exc:
        raise ModelFolderError(f"{path} is not JSON: {exc}") from exc
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if found != FORMAT:
        raise ModelFolderError(f"{path} has format {found!r}; this version reads {FORMAT}")
    expected = {"files", "schema", "encoder", "heads", "calibration"}
    missing = sorted(expected - manifest.keys())
    if missing or HEADS not in manifest["files"]:
        raise ModelFolderError(f"{path} lacks {', '.join(missing) or HEADS}")
    return dict(manifest)


def manifest_hash(folder: str | Path) -> str:
    """Return the SHA-256 of a folder's manifest, which holds those of its other files.

    Raises:
        ModelFolderError: there is no manifest.
    """
    return _sha256(Path(folder) / MANIFEST)


def hash_of(rows: Sequence[Example]) -> str:
    """Return the SHA-256 of examples, in hexadecimal, whatever order they are in."""
    lines = sorted(examples.write(row) for row in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _manifest(trained: TrainedModel, data_hash: str, draft: Path) -> dict[str, Any]:
    schema = trained.schema
    return {
        "format": FORMAT,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "schema": {
            "name": schema.name,
            "version": schema.version,
            "sha256": schema.digest,
            "document": schema.document,
        },
        "heads": trained.network.keys,
        "config": as_json(trained.config),
        "epochs": trained.epochs,
        "encoder": {"name": trained.encoder.name, "sha256": trained.encoder.digest, "is_tuned": False},
        "data_sha256": data_hash,
        "counts": trained.counts,
        "metrics": trained.metrics,
        "calibration": {key: found.as_json() for key, found in trained.calibration.items()},
        "libraries": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
        "files": {HEADS: _sha256(draft / HEADS)},
    }


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise ModelFolderError(f"{path} cannot be read: {exc.strerror}") from exc
