"""Trainings as runs of an MLflow server: what they were given, how they went, and the model that came out.

MLflow is optional, and loaded where a run is opened. What a run is told never ends a training: once the server fails,
nothing more is sent, and `failure` says why.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ml.errors import InputError
from ml.progress import OnProgress, Progress
from ml.registry import MANIFEST

# MLflow reads these from the environment when it is loaded; whoever set them knows better
USUAL = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # It would tell its makers how it is used
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # Of 7, which take minutes
}


class TrackingError(InputError):
    """MLflow is not installed, or there is no server that takes runs at the address."""


class Run:
    """One run of an MLflow server; without a client, of none: then everything is taken and nothing is sent."""

    def __init__(self, client: Any = None, run_id: str = "") -> None:
        """Take a client of MLflow and the run that it has begun."""
        self.run_id = run_id
        self.failure = ""
        self._client = client

    def watch(self, progress: OnProgress) -> OnProgress:
        """Return what tells `progress` and sends the loss and the measures of each epoch."""

        def tell(found: Progress) -> None:
            if found.epoch is not None:
                measured = {**found.metrics} if found.loss is None else {"loss": found.loss, **found.metrics}
                self._measure({f"{found.phase}/{key}": value for key, value in measured.items()}, found.epoch)
            progress(found)

        return tell

    def finish(self, manifest: Mapping[str, Any], folder: str | Path) -> None:
        """Send the final measures, and the manifest and the whole folder of a model."""
        measured = {
            f"final/{key}/{name}": value
            for key, found in manifest["metrics"].items()
            for name, value in found.items()
            if isinstance(value, int | float)
        }
        self._measure(measured, manifest["epochs"])
        self._send(lambda client: client.log_artifact(self.run_id, str(Path(folder) / MANIFEST)))
        self._send(lambda client: client.log_artifacts(self.run_id, str(folder), "model"))

    def end(self, status: str) -> None:
        """Say how the run ended, in MLflow's words."""
        self._send(lambda client: client.set_terminated(self.run_id, status))

    def give(self, parameters: Mapping[str, Any]) -> None:
        """Send what the training was given."""
        from mlflow.entities import Param  # noqa: PLC0415 - optional, and takes seconds

        found = [Param(key, str(value)) for key, value in parameters.items()]
        self._send(lambda client: client.log_batch(self.run_id, params=found))

    def _measure(self, values: Mapping[str, float], step: int) -> None:
        if self._client is None or self.failure:
            return
        from mlflow.entities import Metric  # noqa: PLC0415 - as above

        now = int(time.time() * 1000)
        found = [Metric(re.sub(r"[^\w./ -]", "_", key), value, now, step) for key, value in values.items()]
        self._send(lambda client: client.log_batch(self.run_id, metrics=found))

    def _send(self, call: Callable[[Any], object]) -> None:
        if self._client is None or self.failure:
            return
        try:
            call(self._client)
        except Exception as exc:  # MLflow's stores raise it bare, too, and no record is worth a training
            self.failure = f"{type(exc).__name__}: {exc}"


@contextlib.contextmanager
def run(uri: str, *, experiment: str, name: str, parameters: Mapping[str, Any]) -> Iterator[Run]:
    """Open a run, which ends with the block: finished, or failed where the block raises.

    Args:
        uri: of the server, as MLflow takes it; empty for none.
        experiment: what runs are listed under; made if there is none of that name.
        parameters: what the training is given.

    Raises:
        TrackingError: MLflow is not installed, or nothing at that address takes runs.
    """
    if not uri:
        yield Run()
        return
    opened = _open(uri, experiment, name)
    opened.give(parameters)
    try:
        yield opened
    except BaseException:
        opened.end("FAILED")
        raise
    opened.end("FINISHED")


def _open(uri: str, experiment: str, name: str) -> Run:
    for variable, value in USUAL.items():
        os.environ.setdefault(variable, value)
    try:
        from mlflow.exceptions import MlflowException  # noqa: PLC0415 - optional, and takes seconds
        from mlflow.tracking import MlflowClient  # noqa: PLC0415
    except ImportError as exc:
        raise TrackingError("MLflow is not installed; pip install -r requirements-mlflow.txt") from exc
    try:
        client = MlflowClient(tracking_uri=uri)
        known = client.get_experiment_by_name(experiment)
        place = known.experiment_id if known else client.create_experiment(experiment)
        return Run(client, client.create_run(place, run_name=name).info.run_id)
    except (MlflowException, OSError) as exc:
        raise TrackingError(f"nothing takes runs of MLflow at {uri}: {exc}") from exc
