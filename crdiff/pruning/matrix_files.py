"""Matrices in a folder, a file each: of the gigabytes that they take together one at a time is in memory."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

from crdiff.pruning.hessian import Matrices, Matrix
from crdiff.pruning.store import Record, read_record, write_record

HESSIANS, GRADIENTS = ".hessians", ".gradients"
"""What a folder's name ends in."""
_KEY, _ARRAY = "key", "hessian"
_DIGITS = 16


class MatrixFiles:
    """See Matrices.

    Args:
        folder: where they are.
        keys: see Matrices.
    """

    def __init__(self, folder: Path, keys: Mapping[str, str]) -> None:
        self.folder, self.keys = folder, dict(keys)

    def get(self, key: str) -> Matrix | None:
        """See Matrices; a damaged file counts as none."""

        def read(record: Record) -> Matrix:
            if record.header[_KEY] != key:
                raise KeyError(key)
            found: Matrix = record.arrays[_ARRAY]
            return found

        return read_record(self._path(key), read)

    def with_those_of(self, matrices: Matrices) -> MatrixFiles:
        """These, and others beside them, which are written here.

        Raises:
            OSError: a file cannot be written.
        """
        for key in dict.fromkeys(matrices.keys.values()):
            found = matrices.get(key)
            if found is not None:
                write_record(self._path(key), Record({_KEY: key}, {_ARRAY: found}))
        return MatrixFiles(self.folder, {**self.keys, **matrices.keys})

    @property
    def bytes(self) -> int:
        """That the files take."""
        with contextlib.suppress(OSError):
            return sum(path.stat().st_size for path in self.folder.iterdir())
        return 0

    def delete(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, key: str) -> Path:
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:_DIGITS]}.safetensors"
