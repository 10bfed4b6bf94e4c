"""Magnitude profiles kept per state of the weights: in memory, and on disk for unmodified checkpoints."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from crdiff.files import write_atomically
from crdiff.method.groups import GROUPS
from crdiff.pruning.histogram import GroupProfile, MagnitudeProfile

_FORMAT = "1"
_SAMPLES = 16

Arrays = dict[str, npt.NDArray[np.int64]]


@dataclass(frozen=True)
class WeightsState:
    """What the values of the live weights depend on.

    Attributes:
        checkpoint: identity of the checkpoint file, such as its sha256.
        precision: storage and compute dtypes, which decide what a weight is rounded to before it is used.
        modifiers: whatever changes the weights after loading, such as each LoRA with its strengths.
        fingerprint: ``fingerprint()`` of the stored weights, because hosts overwrite weights in place.
    """

    checkpoint: str
    precision: str
    modifiers: tuple[str, ...]
    fingerprint: str

    @property
    def unmodified(self) -> bool:
        """Whether the weights are the checkpoint's own, so that they will be met again after a restart."""
        return not self.modifiers

    @property
    def digest(self) -> str:
        """A name for a file, from all the attributes."""
        parts = [_FORMAT, self.checkpoint, self.precision, *self.modifiers, self.fingerprint]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def fingerprint(weights: Iterable[torch.Tensor]) -> str:
    """A cheap hash of stored weights: shape, dtype and 16 values of each, whatever their device or quantisation."""
    digest = hashlib.sha256()
    samples = []
    with torch.no_grad():
        for weight in weights:
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


class ProfileCache:
    """The last profiles in memory, and those of unmodified checkpoints in a folder.

    Args:
        folder: where profiles are kept between runs; None keeps them in memory only.
        capacity: how many profiles stay in memory.
    """

    def __init__(self, folder: Path | None = None, capacity: int = 8) -> None:
        self._folder = folder
        self._capacity = capacity
        self._lock = threading.Lock()
        self._memory: OrderedDict[WeightsState, MagnitudeProfile] = OrderedDict()

    def get(self, state: WeightsState) -> MagnitudeProfile | None:
        """The profile of this state of the weights, None if it has not been counted yet or its file is damaged."""
        with self._lock:
            if state in self._memory:
                self._memory.move_to_end(state)
                return self._memory[state]
        path = self._path(state)
        profile = None if path is None else _read(path)
        if profile is not None:
            self._remember(state, profile)
        return profile

    def put(self, state: WeightsState, profile: MagnitudeProfile) -> None:
        """Keep a profile. A folder that cannot be written to costs the next run a recount, nothing else."""
        self._remember(state, profile)
        path = self._path(state)
        if path is not None:
            with contextlib.suppress(OSError):
                _write(path, profile)

    def _remember(self, state: WeightsState, profile: MagnitudeProfile) -> None:
        with self._lock:
            self._memory[state] = profile
            self._memory.move_to_end(state)
            while len(self._memory) > self._capacity:
                self._memory.popitem(last=False)

    def _path(self, state: WeightsState) -> Path | None:
        if self._folder is None or not state.unmodified:
            return None
        return self._folder / f"{state.digest}.safetensors"


def _write(path: Path, profile: MagnitudeProfile) -> None:
    arrays: Arrays = {}
    header: dict[str, str] = {}
    for name, group in profile.groups.items():
        header[name] = json.dumps({"layers": group.layers, "weights": group.weights, "exact": group.exact})
        arrays[f"{name}.bins"] = group.bins
        arrays[f"{name}.cumulative"] = group.cumulative
        for found, counts in group.detail.items():
            arrays[f"{name}.detail.{found}"] = counts
    write_atomically(path, save(arrays, metadata={**header, "digest": _digest(header, arrays)}))


def _read(path: Path) -> MagnitudeProfile | None:
    try:
        if not path.is_file():
            return None
        with safe_open(str(path), framework="np") as file:
            header = file.metadata()
            arrays: Arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
        if header["digest"] != _digest(header, arrays):
            return None
        return MagnitudeProfile({name: _group(name, json.loads(header[name]), arrays) for name in GROUPS})
    except (OSError, SafetensorError, KeyError, ValueError, TypeError):
        return None


def _digest(header: Mapping[str, str], arrays: Arrays) -> str:
    """A hash of everything in a file: a damaged count would prune wrongly, in silence, as long as the file lives."""
    digest = hashlib.sha256(json.dumps([header[name] for name in GROUPS]).encode())
    for key in sorted(arrays):
        digest.update(f"{key}{arrays[key].dtype}{arrays[key].shape}".encode())
        digest.update(arrays[key].tobytes())
    return digest.hexdigest()


def _group(name: str, header: dict[str, int], arrays: Arrays) -> GroupProfile:
    prefix = f"{name}.detail."
    detail = {int(key[len(prefix) :]): counts for key, counts in arrays.items() if key.startswith(prefix)}
    return GroupProfile(
        header["layers"],
        header["weights"],
        arrays[f"{name}.bins"],
        arrays[f"{name}.cumulative"],
        bool(header["exact"]),
        detail,
    )
