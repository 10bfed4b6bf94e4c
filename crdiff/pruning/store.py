"""What criteria have gathered, kept by state of the weights: in memory, and on disk for unmodified checkpoints."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from crdiff.files import write_atomically

if TYPE_CHECKING:
    from crdiff.pruning.calibrations import CalibrationSource

_log = logging.getLogger("crdiff")
_FORMAT = "1"
_DIGEST = "digest"
_UNNAMED = "magnitude"
"""The criterion whose files are named by the state of the weights alone: it was the only one once."""
_SAMPLES = 16

T = TypeVar("T")


@dataclass(frozen=True)
class Record:
    """What a file holds.

    Attributes:
        header: texts by name.
        arrays: numbers by name.
    """

    header: dict[str, str]
    arrays: dict[str, npt.NDArray[Any]]

    @property
    def digest(self) -> str:
        """A hash of all of it: a damaged count would prune wrongly, in silence, as long as the file lives."""
        digest = hashlib.sha256(json.dumps([self.header[name] for name in sorted(self.header)]).encode())
        for key in sorted(self.arrays):
            array = self.arrays[key]
            digest.update(f"{key}{array.dtype}{array.shape}".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class WeightsState:
    """What the values of the live weights depend on.

    Attributes:
        checkpoint: identity of the checkpoint file, such as its sha256.
        precision: storage and compute dtypes, which decide what a weight is rounded to before it is used.
        modifiers: whatever changes the weights after loading, such as each LoRA with its strengths.
        fingerprint: ``fingerprint()`` of the stored weights, because hosts overwrite weights in place.
        scope: which of them are looked at, and what shares a threshold; empty where it is what a UNet always has.
    """

    checkpoint: str
    precision: str
    modifiers: tuple[str, ...]
    fingerprint: str
    scope: str = ""

    @property
    def unmodified(self) -> bool:
        """Whether the weights are the checkpoint's own, so that they will be met again after a restart."""
        return not self.modifiers

    @property
    def digest(self) -> str:
        """A name for a file, from all the attributes."""
        parts = [_FORMAT, self.checkpoint, self.precision, *self.modifiers, self.fingerprint]
        parts += [self.scope] if self.scope else []
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def fingerprint(weights: Iterable[torch.Tensor | str]) -> str:
    """A cheap hash of weights: shape, dtype and 16 values of each, whatever their device or quantisation.

    Args:
        weights: tensors, and texts for what is no tensor.
    """
    digest = hashlib.sha256()
    samples = []
    with torch.no_grad():
        for weight in weights:
            if isinstance(weight, str):
                digest.update(weight.encode())
                continue
            digest.update(f"{tuple(weight.shape)}{weight.dtype}".encode())
            raw = weight.detach().as_subclass(torch.Tensor).reshape(-1)
            step = max(1, raw.numel() // _SAMPLES)
            samples.append(raw[step // 2 :: step][:_SAMPLES].contiguous().view(torch.uint8))
        # One transfer for each device instead of one for each layer.
        devices = OrderedDict.fromkeys(sample.device for sample in samples)
        for device in devices:
            joined = torch.cat([sample for sample in samples if sample.device == device])
            digest.update(joined.cpu().numpy().tobytes())
    return digest.hexdigest()


def drop_ambiguous(folder: Path) -> None:
    """Drop what version 1.0.0 has stored, which no longer tells whether a LoRA was counted as the checkpoint's own."""
    found = list(folder.glob("*.safetensors"))
    if not found:
        return
    with contextlib.suppress(OSError):
        for path in found:
            path.unlink()
        folder.rmdir()
    _log.warning(
        "The magnitudes stored by version 1.0.0 are dropped and counted again, once for each checkpoint: "
        "in Forge Neo they could be those of a LoRA, and images drawn with them differ from what they should be."
    )


class Store:
    """The latest data of each criterion in memory, and that of unmodified checkpoints in a folder.

    Args:
        folder: where data is kept between runs; None keeps it in memory only.
        capacity: how many entries stay in memory.
        calibrations: of models, for criteria that need one; None has none.
    """

    def __init__(
        self, folder: Path | None = None, capacity: int = 8, calibrations: CalibrationSource | None = None
    ) -> None:
        self.calibrations = calibrations
        self._folder = folder
        self._capacity = capacity
        self._lock = threading.Lock()
        self._memory: OrderedDict[tuple[str, WeightsState], Any] = OrderedDict()
        self._large: str | None = None

    def get(self, criterion: str, state: WeightsState, read: Callable[[Record], T]) -> T | None:
        """What a criterion has put here for this state of the weights; None if nothing, or if its file is damaged.

        Args:
            criterion: its name.
            state: of the weights.
            read: makes the data of a record; a KeyError, ValueError or TypeError means that the record is damaged.
        """
        known: T | None = self.known(criterion, state)
        if known is not None:
            return known
        path = self._path(criterion, state)
        found = None if path is None else read_record(path, read)
        if found is not None:
            self._remember(criterion, state, found)
        return found

    def known(self, criterion: str, state: WeightsState) -> Any:
        """What was put here and is in memory; None if nothing is."""
        with self._lock:
            if (criterion, state) in self._memory:
                self._memory.move_to_end((criterion, state))
            return self._memory.get((criterion, state))

    def put(self, criterion: str, state: WeightsState, data: Any, record: Record | None = None) -> None:
        """Keep data, on disk too if there is a record of it.

        A folder that cannot be written to costs the next run, nothing else.
        """
        self._remember(criterion, state, data)
        path = self._path(criterion, state)
        if path is not None and record is not None:
            with contextlib.suppress(OSError):
                write_record(path, record)

    def put_alone(self, criterion: str, state: WeightsState, data: Any) -> None:
        """Keep large data in memory, of one criterion and one state at a time; see ``release``."""
        with self._lock:
            self._drop_large()
            self._large = criterion
        self._remember(criterion, state, data)

    def release(self, criterion: str) -> None:
        """``criterion`` is the one in use: large data of any other is let go."""
        with self._lock:
            if self._large != criterion:
                self._drop_large()

    def _drop_large(self) -> None:
        for key in [key for key in self._memory if key[0] == self._large]:
            del self._memory[key]
        self._large = None

    def _remember(self, criterion: str, state: WeightsState, data: Any) -> None:
        with self._lock:
            self._memory[criterion, state] = data
            self._memory.move_to_end((criterion, state))
            while len(self._memory) > self._capacity:
                self._memory.popitem(last=False)

    def _path(self, criterion: str, state: WeightsState) -> Path | None:
        if self._folder is None or not state.unmodified:
            return None
        prefix = "" if criterion == _UNNAMED else f"{criterion}-"
        return self._folder / f"{prefix}{state.digest}.safetensors"


def write_record(path: Path, record: Record) -> None:
    """Replace a file by one that holds ``record``.

    Raises:
        OSError: it cannot be written.
    """
    write_atomically(path, save(record.arrays, metadata={**record.header, _DIGEST: record.digest}))


def read_record(path: Path, read: Callable[[Record], T]) -> T | None:
    """What ``read`` makes of a file's record; None if there is no such file, or if it is damaged.

    Args:
        path: of the file.
        read: a KeyError, ValueError or TypeError means that the record is damaged.
    """
    try:
        if not path.is_file():
            return None
        with safe_open(str(path), framework="np") as file:
            header = dict(file.metadata())
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
        digest, record = header.pop(_DIGEST), Record(header, arrays)
        return read(record) if digest == record.digest else None
    except (OSError, SafetensorError, KeyError, ValueError, TypeError):
        return None
