"""What an encoder gave for each text, kept on disk by content hash and bounded in size. numpy only.

Vectors tell much of the text that they were made from: keep the folder where the texts may be kept, and `forget` a text
when it is erased.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MOST_BYTES = 2 * 2**30  # About 6,000 cases of 400 word pieces, 384 wide
ROOM = 0.9  # Share of the bound that is left after making room, so that not every write has to


@dataclass
class Cache:
    """A folder of arrays, each in a file of its own; those not used for longest go first."""

    folder: Path
    most_bytes: int = MOST_BYTES
    _size: int | None = field(default=None, repr=False)

    def read(self, name: str) -> NDArray[np.float16] | None:
        """Return what is kept under a name; None if there is nothing, or it cannot be read."""
        path = self._path(name)
        try:
            found: NDArray[np.float16] = np.load(path, allow_pickle=False)
            os.utime(path)
        except (OSError, ValueError, EOFError):
            return None
        return found

    def write(self, name: str, vectors: NDArray[np.float16]) -> None:
        """Keep an array of shape (tokens, width). A disk that is full or read-only keeps nothing."""
        path = self._path(name)
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.parent.mkdir(exist_ok=True, mode=0o700)
            # Under a name that `forget` and `_files` find too, should this process be killed; nobody else can read it
            file = tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{name}.", suffix=".part", delete=False)  # noqa: SIM115 - closed below
            part = Path(file.name)
            try:
                with file:
                    np.save(file, vectors, allow_pickle=False)
                part.rename(path)  # At once, so that another process never reads half a file
            finally:
                part.unlink(missing_ok=True)
        except OSError:
            return
        self._make_room(vectors.nbytes)

    def forget(self, digest: str) -> None:
        """Remove what is kept of one text for any encoder, by the SHA-256 of its UTF-8 bytes in hexadecimal."""
        for path in self.folder.glob(f"{digest[:2]}/*{digest}.*"):
            path.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        digest = name.rpartition("-")[2]
        return self.folder / digest[:2] / f"{name}.npy"

    def _make_room(self, added: int) -> None:
        if self._size is not None:
            self._size += added
            if self._size <= self.most_bytes:
                return
        files = sorted((stat.st_mtime, stat.st_size, path) for path, stat in self._files())
        self._size = sum(size for _, size, _ in files)
        if self._size <= self.most_bytes:
            return
        for _, size, path in files:
            path.unlink(missing_ok=True)
            self._size -= size
            if self._size <= ROOM * self.most_bytes:
                return

    def _files(self) -> list[tuple[Path, os.stat_result]]:
        found = []
        for path in chain(self.folder.glob("*/*.npy"), self.folder.glob("*/.*.part")):
            try:
                found.append((path, path.stat()))
            except OSError:  # Another process removed it meanwhile
                continue
        return found
