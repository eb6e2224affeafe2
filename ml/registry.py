"""Model folders: safetensors, ONNX and JSON, never a pickle, each file checked against its SHA-256 before it is read.

manifest.json          schema, configuration, counts, metrics, calibration, encoder, versions and hashes
encoder.onnx           word pieces to vectors, in int8 or float32
heads.onnx             vectors to raw scores
tokenizer.json         texts to word pieces
heads.safetensors      the heads, for tools that read no ONNX
encoder.safetensors    the weights of the encoder that were tuned; the others are those of the encoder it names

The first four are all that serving reads. No torch here: servers import it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ml import examples
from ml import schema as schemas
from ml.errors import InputError
from ml.schema import Schema
from ml.types import Example

FORMAT = 2  # Raised when an older program could misread a newer folder
MANIFEST = "manifest.json"
ENCODER = "encoder.onnx"
HEADS = "heads.onnx"
TOKENIZER = "tokenizer.json"
HEAD_WEIGHTS = "heads.safetensors"
TUNED_WEIGHTS = "encoder.safetensors"
CENTRES = "centres.npy"
SAVEPOINT = "savepoint.safetensors"  # Not of a model folder: see `ml.savepoint`
SERVED = (ENCODER, HEADS, TOKENIZER)
LIBRARIES = ("torch", "transformers", "safetensors", "tokenizers", "numpy", "onnx", "onnxruntime")


class ModelFolderError(InputError):
    """A model folder is missing, damaged, or of another format; the message names the file and what is wrong."""


@contextlib.contextmanager
def draft(folder: str | Path) -> Iterator[Path]:
    """Give a folder to write a model into, which takes its name when the block ends well: whole, or not there.

    Raises:
        ModelFolderError: the folder exists already, or cannot be written.
    """
    target = Path(folder)
    place = _beside(target)
    try:
        yield place
        for file in place.iterdir():
            file.chmod(0o644)
        place.chmod(0o755)  # Private to this user until here, but another one may serve the model
        place.rename(target)
    except OSError as exc:
        raise ModelFolderError(f"{target} cannot be written: {exc.strerror}") from exc
    finally:
        shutil.rmtree(place, ignore_errors=True)


def check_new(folder: str | Path) -> None:
    """Refuse a folder that could not be written, before a model is made for it.

    Raises:
        ModelFolderError: the folder exists already, or cannot be written.
    """
    _beside(Path(folder)).rmdir()


def _beside(target: Path) -> Path:
    try:
        if target.exists():
            raise ModelFolderError(f"{target} exists already; models are never overwritten")
        target.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as exc:
        raise ModelFolderError(f"{target} cannot be written: {exc.strerror}") from exc


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Write the manifest of a folder whose other files are there, with format, time, libraries and their hashes.

    Returns:
        The whole manifest, as it is read back.
    """
    whole = {
        "format": FORMAT,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        **manifest,
        "libraries": {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
        "files": {file.name: _sha256(file) for file in sorted(folder.iterdir()) if file.name != MANIFEST},
    }
    (folder / MANIFEST).write_text(json.dumps(whole, indent=1, ensure_ascii=False), encoding="utf-8")
    return read_manifest(folder)


def checked_manifest(folder: str | Path) -> dict[str, Any]:
    """Read a manifest, and check every file of the folder against it.

    Raises:
        ModelFolderError: as `read_manifest`; or a file is missing or was changed.
    """
    place = Path(folder)
    manifest = read_manifest(place)
    for name, digest in manifest["files"].items():
        if _sha256(place / name) != digest:
            raise ModelFolderError(f"{place / name} is not the file that was saved: its SHA-256 differs")
    return manifest


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
    missing = sorted(expected - manifest.keys()) or sorted(set(SERVED) - manifest["files"].keys())
    if missing:
        raise ModelFolderError(f"{path} lacks {', '.join(missing)}")
    return dict(manifest)


def has_savepoint(folder: str | Path) -> bool:
    """Whether a training that died left something there to go on from."""
    return (Path(folder) / SAVEPOINT).is_file()


def named(schema: Schema) -> dict[str, Any]:
    """Return what a manifest says of a schema."""
    return {"name": schema.name, "version": schema.version, "sha256": schema.digest, "document": schema.document}


def schema_of(manifest: Mapping[str, Any]) -> Schema:
    """Return the schema that a model was trained for."""
    return schemas.parse(manifest["schema"]["document"])


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


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise ModelFolderError(f"{path} cannot be read: {exc.strerror}") from exc
