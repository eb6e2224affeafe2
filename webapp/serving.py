"""The versions in use as a web process serves them: loaded on first use, in a thread, and kept."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings

from ml import registry
from webapp.errors import CaseloopError
from webapp.models import ModelVersion, Schema
from webapp.queries import schemas

if TYPE_CHECKING:
    from ml.serving import Predictor

logger = logging.getLogger(__name__)

LOADING_SECONDS = 2.0  # After which asking again is worth while
TRAINING_SECONDS = 60.0
NEUTRAL = "Hello."

_lock = threading.Lock()
_kept: dict[int, tuple[ModelVersion, Predictor]] = {}  # By schema
_loading: set[int] = set()  # Versions


class NotServed(CaseloopError):
    """No version can answer here yet; asking again after `retry_seconds` may help."""

    def __init__(self, message: str, retry_seconds: float) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


def serving(schema: Schema) -> tuple[ModelVersion, Predictor]:
    """Return the version in use and its model; one that is just being replaced, until the new one is loaded.

    Raises:
        NotServed: no version is in use, or it is not loaded yet.
    """
    version = schemas.champion(schema)
    if version is None:
        raise NotServed(f"no trained version of {schema.name} is in use yet", TRAINING_SECONDS)
    with _lock:
        found = _kept.get(schema.pk)
        is_new = found is None or found[0].pk != version.pk
        if is_new and version.pk not in _loading:
            _loading.add(version.pk)
            threading.Thread(target=_load, args=(version,), name=f"load version {version.pk}", daemon=True).start()
    if found is None:
        raise NotServed(f"{version} of {schema.name} is being loaded", LOADING_SECONDS)
    return found


def checked_folder(version: ModelVersion) -> Path:
    """Return the folder of a trained version.

    Raises:
        ModelFolderError: its manifest is not the one that was stored.
    """
    folder = Path(settings.MODELS_DIR) / version.folder
    if registry.manifest_hash(folder) != version.manifest_hash:
        raise registry.ModelFolderError(f"{folder} has another manifest than the one that was trained")
    return folder


def forget() -> None:
    """Let go of what is loaded."""
    with _lock:
        _kept.clear()


def _load(version: ModelVersion) -> None:
    """Load a version that has answered once. One that cannot be is not served, and neither is the one before it."""
    try:
        from ml.serving import Predictor  # noqa: PLC0415 - takes half a second, and most web processes predict nothing

        model = Predictor(checked_folder(version))
        model.read([NEUTRAL])
    except Exception as exc:
        logger.exception("version cannot be served", extra={"version": version.pk, "error": type(exc).__name__})
        with _lock:
            _kept.pop(version.schema_id, None)
    else:
        with _lock:
            _kept[version.schema_id] = (version, model)
    finally:
        with _lock:
            _loading.discard(version.pk)
