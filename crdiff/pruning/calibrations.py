"""The calibrations of models, in a folder: one file for each state of the weights and way of calibrating.

Whole Hessians and gradients lie beside it, each in a folder of their own, whose name the file knows.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import shutil
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from crdiff.errors import CRDiffError, UnsupportedModelError
from crdiff.models.architecture import Layer
from crdiff.pruning.hessian import Matrices, Matrix
from crdiff.pruning.matrix_files import GRADIENTS, HESSIANS, MatrixFiles
from crdiff.pruning.statistics import Statistics
from crdiff.pruning.store import Record, Store, WeightsState, read_record, write_record

_DIGITS = 16
_CHECKPOINT = "checkpoint"
_MODIFIERS = "modifiers"
_APART = {"hessians": HESSIANS, "gradients": GRADIENTS}
"""What lies beside the file, by its name in Statistics and in the header, and what its folder's name ends in."""
_ABANDONED_S = 24 * 3600.0
"""Age at which matrices that no calibration knows are no longer those of one that is under way."""


class MissingCalibrationError(CRDiffError):
    """A criterion needs to know what the model's layers see, and nobody has watched this model yet."""


class CalibrationSource(Protocol):
    """Where criteria find the calibration of the weights at hand."""

    def of(self, state: WeightsState) -> Statistics | None:
        """The one in force; None if there is none."""


@dataclass(frozen=True)
class Stored:
    """A calibration in the folder.

    Attributes:
        path: its file.
        checkpoint: identity of the checkpoint, such as its sha256.
        modifiers: what had changed the weights, such as each LoRA with its strengths.
        statistics: what it knows.
        bytes: that it takes on disk.
        time: of the calibration, in seconds since the epoch.
    """

    path: Path
    checkpoint: str
    modifiers: tuple[str, ...]
    statistics: Statistics
    bytes: int
    time: float


class Calibrations:
    """The calibrations in a folder, which need not exist yet; the latest of a state of the weights is the one in force.

    Args:
        folder: where they are kept, under the host's data path.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._read: dict[tuple[Path, int], Stored] = {}

    def of(self, state: WeightsState) -> Statistics | None:
        """The latest calibration of these weights, all of which it has seen whatever the state's scope; None if there
        is none. A damaged file counts as none.
        """
        state = replace(state, scope="")
        found = self._matching(f"{_short(state.checkpoint)}-{state.digest[:_DIGITS]}-*")
        return found[0].statistics if found else None

    def of_checkpoint(self, checkpoint: str) -> tuple[Stored, ...]:
        """All calibrations of a checkpoint with whatever LoRAs and in whatever precision, the latest first.

        Args:
            checkpoint: ``Checkpoint.key``.
        """
        return self._matching(f"{_short(checkpoint)}-*")

    def in_force(self, checkpoint: str) -> tuple[Stored, ...]:
        """Of each state of a checkpoint's weights the calibration that criteria go by, the latest first."""
        found: dict[str, Stored] = {}
        for one in self.of_checkpoint(checkpoint):
            found.setdefault(one.path.stem.rpartition("-")[0], one)
        return tuple(found.values())

    def all(self) -> tuple[Stored, ...]:
        """Every calibration, the latest first."""
        return self._matching("*")

    def put(self, state: WeightsState, statistics: Statistics) -> Path:
        """Keep a calibration; one of the same weights that was made in the same way is replaced.

        Raises:
            OSError: the file cannot be written.
        """
        record = statistics.to_record()
        header = {**record.header, _CHECKPOINT: state.checkpoint, _MODIFIERS: json.dumps(state.modifiers)}
        beside: dict[str, Any] = {}
        for what, suffix in _APART.items():
            files = getattr(statistics, what)
            if files is not None:
                if not isinstance(files, MatrixFiles):
                    files = self.files(suffix).with_those_of(files)
                header[what] = json.dumps({"folder": files.folder.name, "keys": files.keys})
                beside[what] = files
        statistics = replace(statistics, **beside)
        path = self._folder / f"{_short(state.checkpoint)}-{state.digest[:_DIGITS]}-{_key(statistics.made)}.safetensors"
        replaced = self._stored(path)
        write_record(path, Record(header, record.arrays))
        if replaced is not None:
            _delete(_files_of(replaced.statistics) - _files_of(statistics))
        return path

    def files(self, suffix: str = HESSIANS) -> MatrixFiles:
        """A folder of its own for the whole Hessians, or the gradients, of a calibration that is about to begin.

        What a calibration that was killed has left is deleted.
        """
        kept = set().union(*(_files_of(stored.statistics) for stored in self.all()))
        for folder in (folder for ending in _APART.values() for folder in self._folder.glob(f"*{ending}")):
            with contextlib.suppress(OSError):
                if folder not in kept and time.time() - folder.stat().st_mtime > _ABANDONED_S:
                    MatrixFiles(folder, {}).delete()
        return MatrixFiles(self._folder / f"{secrets.token_hex(_DIGITS // 2)}{suffix}", {})

    def delete(self, stored: Stored) -> None:
        """Remove a calibration.

        Raises:
            OSError: its file cannot be removed.
        """
        stored.path.unlink(missing_ok=True)
        _delete(_files_of(stored.statistics))

    def free_bytes(self) -> int | None:
        """Free on the disk; None where nobody can tell."""
        existing = next((folder for folder in (self._folder, *self._folder.parents) if folder.is_dir()), None)
        with contextlib.suppress(OSError):
            return None if existing is None else shutil.disk_usage(existing).free
        return None

    def _matching(self, pattern: str) -> tuple[Stored, ...]:
        found: list[Stored] = []
        with self._lock:
            for path in self._folder.glob(f"{pattern}.safetensors"):
                with contextlib.suppress(OSError):  # deleted meanwhile
                    if (stored := self._load(path)) is not None:
                        found.append(stored)
        return tuple(sorted(found, key=lambda one: one.time, reverse=True))

    def _stored(self, path: Path) -> Stored | None:
        """What a file holds that may not be there."""
        with self._lock, contextlib.suppress(OSError):
            return self._load(path)
        return None

    def _load(self, path: Path) -> Stored | None:
        stat = path.stat()
        key = (path, stat.st_mtime_ns)
        if key not in self._read:
            loaded = read_record(path, lambda record: (_origin(record), self._statistics(record)))
            if loaded is None:
                return None
            (checkpoint, modifiers), statistics = loaded
            size = stat.st_size + sum(MatrixFiles(folder, {}).bytes for folder in _files_of(statistics))
            self._read = {other: known for other, known in self._read.items() if other[0] != path}
            self._read[key] = Stored(path, checkpoint, modifiers, statistics, size, stat.st_mtime)
        return self._read[key]

    def _statistics(self, record: Record) -> Statistics:
        found = Statistics.from_record(record)
        beside: dict[str, Any] = {}
        for what, suffix in _APART.items():
            if what in record.header:
                kept = json.loads(record.header[what])
                name = str(kept["folder"])
                if name != Path(name).name or not name.endswith(suffix):
                    raise ValueError(f"{name} is no folder of {what}")  # it is deleted with the calibration
                files = MatrixFiles(self._folder / name, kept["keys"])
                beside[what] = files if files.folder.is_dir() else None
        return replace(found, **beside)


def needed(what: str, state: WeightsState, store: Store) -> Statistics:
    """The calibration in force of these weights.

    Args:
        what: the criterion that needs it, as the user knows it.
        state: of the weights.
        store: where calibrations are looked up.

    Raises:
        MissingCalibrationError: there is none.
    """
    known = None if store.calibrations is None else store.calibrations.of(state)
    if known is None:
        how = "with the LoRAs in use" if state.modifiers else "without LoRAs"
        raise MissingCalibrationError(
            f"The criterion {what} has to know what the model's layers see: calibrate this checkpoint {how} first."
        )
    return known


def needed_hessians(what: str, state: WeightsState, store: Store) -> tuple[Matrices, str]:
    """The whole Hessians of the calibration in force, and what a criterion that needs them goes by, for the infotext.

    Raises:
        MissingCalibrationError: there are none.
    """
    statistics = needed(what, state, store)
    if statistics.hessians is None:
        raise MissingCalibrationError(
            f"The criterion {what} needs a calibration with whole Hessians; this checkpoint's has none."
        )
    return statistics.hessians, statistics.basis(len(statistics.layers.keys() - statistics.hessians.keys.keys()))


def hessian_of(layer: Layer, columns: int, hessians: Matrices) -> Matrix | None:
    """Of a layer with so many inputs, of a region those that it multiplies; None if none was kept of it.

    Raises:
        UnsupportedModelError: it can no longer be read, or is another layer's.
    """
    key = hessians.keys.get(layer.name)
    if key is None:
        return None
    found = hessians.get(key)
    if found is not None and layer.region is not None:
        found = found[-columns:, -columns:]
    if found is None or len(found) != columns:
        raise UnsupportedModelError(f"The Hessian of the layer {layer.name} is missing: calibrate the model anew.")
    return found


def _files_of(statistics: Statistics) -> set[Path]:
    """The folders beside a calibration's file."""
    found = (statistics.hessians, statistics.gradients)
    return {files.folder for files in found if isinstance(files, MatrixFiles)}


def _delete(folders: set[Path]) -> None:
    for folder in folders:
        MatrixFiles(folder, {}).delete()


def _origin(record: Record) -> tuple[str, tuple[str, ...]]:
    return record.header[_CHECKPOINT], tuple(json.loads(record.header[_MODIFIERS]))


def _short(checkpoint: str) -> str:
    return hashlib.sha256(checkpoint.encode()).hexdigest()[:_DIGITS]


def _key(made: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:_DIGITS]
