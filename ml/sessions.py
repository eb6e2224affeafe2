"""Running ONNX graphs.

An encoder in int8 scales its numbers by the largest of what it reads at once, so that padding and the other texts of a
batch would change what it gives for a text. Windows are therefore read one by one, on as many threads as there are
cores: a text gets the same vectors wherever it stands, and on two cores this is a third faster than batches were.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from ml.registry import ModelFolderError

Floats: TypeAlias = NDArray[np.float32]
Ints: TypeAlias = NDArray[np.int64]
Encode: TypeAlias = Callable[[Ints, Ints], Floats]  # Word piece ids (N, T) and mask (N, T) to vectors (N, T, W)

PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")  # The first is there where onnxruntime-gpu is installed
SPIN = "20"  # Microseconds for which a thread without work looks for more before it sleeps
UNWANTED = ["SkipLayerNormFusion", "EmbedLayerNormFusion"]  # One kernel for sum and norm is five times as slow as two


def load(path: Path, *, threads: int) -> onnxruntime.InferenceSession:
    """Load a graph, on the GPU where there is one; `threads` compute one run.

    Raises:
        ModelFolderError: the file is not a graph that ONNX Runtime reads.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.enable_mem_pattern = False  # Texts differ in length, so that no plan of memory would serve twice
    # Threads that wait for longer keep a busy machine from its other work, and wait for what they keep from running
    options.add_session_config_entry("session.intra_op.spin_duration_us", SPIN)
    known = onnxruntime.get_available_providers()
    try:
        return onnxruntime.InferenceSession(
            path, options, [name for name in PROVIDERS if name in known], disabled_optimizers=UNWANTED
        )
    except Exception as exc:  # ONNX Runtime's own errors have no class in common
        raise ModelFolderError(f"{path} is not a model that ONNX Runtime reads ({type(exc).__name__})") from exc


class WindowEncoder:
    """An exported encoder. Several threads may use it."""

    def __init__(self, path: Path, *, threads: int = 0) -> None:
        """Load an exported encoder; `threads` compute at once, 0 means as many as the machine has cores.

        Raises:
            ModelFolderError: the file is not a graph that ONNX Runtime reads.
        """
        self.path = path
        self._threads = threads or os.cpu_count() or 1
        self._each = load(path, threads=1)
        self._inputs = [given.name for given in self._each.get_inputs()]  # Not every graph has a use for the mask

    def encode(self, ids: Ints, mask: Ints) -> Floats:
        """Encode windows, ids and mask (N, T), to vectors (N, T, W), 0 where the mask is."""
        parts = _without_padding(ids, mask)
        if len(parts) == 1:
            return _padded([self._run(self._alone, parts[0])], ids.shape[1])
        return _padded(list(self._pool.map(partial(self._run, self._each), parts)), ids.shape[1])

    def encode_alone(self, ids: Ints, mask: Ints) -> Floats:
        """Do the same on the thread that calls, while others do so for other texts."""
        return _padded([self._run(self._each, part) for part in _without_padding(ids, mask)], ids.shape[1])

    def _run(self, session: onnxruntime.InferenceSession, ids: Ints) -> Floats:
        given = {"input_ids": ids[None], "attention_mask": np.ones_like(ids[None])}
        hidden: Floats = session.run(None, {name: given[name] for name in self._inputs})[0][0]
        return hidden

    @cached_property
    def _alone(self) -> onnxruntime.InferenceSession:
        """The same graph for a window that comes alone, for which all threads work together."""
        return load(self.path, threads=self._threads) if self._threads > 1 else self._each

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._threads, thread_name_prefix="encoder")


def _without_padding(ids: Ints, mask: Ints) -> list[Ints]:
    return [one[:length] for one, length in zip(ids, mask.sum(axis=1), strict=True)]


def _padded(found: list[Floats], length: int) -> Floats:
    vectors = np.zeros((len(found), length, found[0].shape[1]), dtype=np.float32)
    for at, one in enumerate(found):
        vectors[at, : len(one)] = one
    return vectors
