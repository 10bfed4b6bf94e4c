"""The magnitude profile of a group, or of one layer: a cumulated integer histogram of |w|, exact for every ratio.

A float's magnitude bits sort as its magnitude does, so counting bit patterns gives exact order statistics without
a copy of the weights and without sorting. Every supported dtype converts to float32 without loss, so one histogram
over the upper 18 of float32's 31 magnitude bits serves them all: 8 exponent and 10 mantissa bits separate any two
fp16, bf16 or fp8 values. True float32 weights need a second level, the lower 13 bits of one bin.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch

from crdiff.errors import UnsupportedModelError
from crdiff.method.groups import GROUPS, Ratios
from crdiff.pruning.criterion import GroupSparsity
from crdiff.pruning.store import Record

_LOW_BITS = 13
_BINS = 1 << (31 - _LOW_BITS)
_LOW_MASK = (1 << _LOW_BITS) - 1
_MAGNITUDE = 0x7FFFFFFF
_CHUNK = 1 << 22
# 64 KiB each; a search for ratios goes through hundreds.
_DETAILS = 64

Counts = npt.NDArray[np.int64]
Bins = npt.NDArray[np.int64]


@dataclass(frozen=True)
class UnitProfile:
    """The magnitudes of what shares a threshold.

    Attributes:
        group: whose ratio it goes by.
        layers: number of Linears.
        weights: number of weights.
        bins: occupied bins, ascending: the upper 18 magnitude bits as float32.
        cumulative: number of weights in ``bins[:i + 1]``.
        exact: True if no weight has any of the lower 13 bits set, so that a bin is a single value.
        detail: per bin, the cumulated counts (8192,) of its lower 13 bits; only needed where not ``exact``, and only
            of the bins that were asked for last.
    """

    group: str
    layers: int
    weights: int
    bins: Bins
    cumulative: Counts
    exact: bool
    detail: Mapping[int, Counts] = field(default_factory=dict)

    def _rank(self, ratio: float) -> int:
        return int(self.weights * ratio)

    def missing_bin(self, ratio: float) -> int | None:
        """The bin whose detail ``sparsity(ratio)`` needs and does not have yet, None if it has all it needs."""
        rank = self._rank(ratio)
        if self.exact or rank == 0:
            return None
        found = int(self.bins[np.searchsorted(self.cumulative, rank)])
        return None if found in self.detail else found

    def sparsity(self, ratio: float) -> GroupSparsity:
        """The threshold of ``ratio`` (method: the int(n * ratio)-th smallest |w|; ties with it are pruned too).

        Raises:
            KeyError: the detail of ``missing_bin(ratio)`` has not been counted yet.
        """
        rank = self._rank(ratio)
        if rank == 0:
            return GroupSparsity(self.weights, 0)
        index = int(np.searchsorted(self.cumulative, rank))
        found = int(self.bins[index])
        if self.exact:
            return GroupSparsity(self.weights, int(self.cumulative[index]), _as_float(found << _LOW_BITS))
        below = int(self.cumulative[index - 1]) if index else 0
        low_counts = self.detail[found]
        low = int(np.searchsorted(low_counts, rank - below))
        pruned = below + int(low_counts[low])
        return GroupSparsity(self.weights, pruned, _as_float(found << _LOW_BITS | low))

    def with_detail(self, detail: Mapping[int, Counts]) -> UnitProfile:
        """This profile with more bins counted to the last bit; of many, the latest stay."""
        kept = list({**self.detail, **detail}.items())[-_DETAILS:]
        return replace(self, detail=dict(kept))


@dataclass(frozen=True)
class MagnitudeProfile:
    """The profiles by unit: a group, or a layer with a threshold of its own."""

    units: Mapping[str, UnitProfile]

    def missing_bins(self, ratios: Ratios) -> dict[str, int]:
        """By unit, the bin whose detail ``sparsity(ratios)`` needs and does not have yet; empty if it has all."""
        found = {name: unit.missing_bin(ratios[unit.group]) for name, unit in self.units.items()}
        return {name: index for name, index in found.items() if index is not None}

    def thresholds(self, ratios: Ratios) -> dict[str, float]:
        """By unit; those of which nothing is pruned are left out.

        Raises:
            KeyError: the detail of ``missing_bins(ratios)`` has not been counted yet.
        """
        found = {name: unit.sparsity(ratios[unit.group]).threshold for name, unit in self.units.items()}
        return {name: threshold for name, threshold in found.items() if threshold is not None}

    def sparsity(self, ratios: Ratios) -> dict[str, GroupSparsity]:
        """What is pruned of each group, and its threshold where its layers share one.

        Raises:
            KeyError: as ``thresholds``.
        """
        found: dict[str, GroupSparsity] = {}
        for group in GROUPS:
            parts = {name: unit.sparsity(ratios[group]) for name, unit in self.units.items() if unit.group == group}
            weights, pruned = (sum(getattr(part, what) for part in parts.values()) for what in ("weights", "pruned"))
            found[group] = parts[group] if group in parts else GroupSparsity(weights, pruned)
        return found

    def to_record(self) -> Record:
        """The profile as it is stored."""
        header: dict[str, str] = {}
        arrays: dict[str, Counts] = {}
        for name, unit in self.units.items():
            known = {"layers": unit.layers, "weights": unit.weights, "exact": unit.exact}
            header[name] = json.dumps(known if name == unit.group else {"group": unit.group, **known})
            arrays[f"{name}.bins"] = unit.bins
            arrays[f"{name}.cumulative"] = unit.cumulative
            for found, counts in unit.detail.items():
                arrays[f"{name}.detail.{found}"] = counts
        return Record(header, arrays)

    @classmethod
    def from_record(cls, record: Record) -> MagnitudeProfile:
        """The profile of a record.

        Raises:
            KeyError, ValueError, TypeError: the record is not one of a profile.
        """
        if not record.header:
            raise KeyError("units")
        return cls({name: _unit(name, record) for name in record.header})


class ProfileBuilder:
    """Counts magnitudes, weight by weight, in any order; memory does not grow with the number of weights."""

    def __init__(self) -> None:
        self._counts: dict[str, _Counts] = {}
        self._alone: dict[str, UnitProfile] = {}

    def add(self, group: str, weight: torch.Tensor, unit: str | None = None) -> None:
        """Count one layer's weight (any shape; fp8, fp16, bf16 or fp32; any device).

        Args:
            group: of the layer.
            weight: of it.
            unit: its name if it has a threshold of its own; such a layer is added once.

        Raises:
            UnsupportedModelError: the weight is not of a floating-point dtype up to 32 bits.
        """
        if unit is None or unit == group:
            self._counts.setdefault(group, _Counts()).add(weight)
        else:
            counts = _Counts()
            counts.add(weight)
            self._alone[unit] = counts.profile(group)

    def build(self) -> MagnitudeProfile:
        """The profile of everything counted so far; without layers that stand alone, of every group."""
        if self._alone:
            return MagnitudeProfile(self._alone)
        return MagnitudeProfile({group: self._counts.get(group, _Counts()).profile(group) for group in GROUPS})


class _Counts:
    """The histogram of one unit as it is counted."""

    def __init__(self) -> None:
        self._bins = np.zeros(_BINS, np.int64)
        self._layers = 0
        self._exact = True

    def add(self, weight: torch.Tensor) -> None:
        """One layer's weight."""
        self._layers += 1
        counts = self._bins
        short = _short_bins(weight.dtype)
        for chunk in _chunks(weight):
            if short is not None:
                bits = chunk.view(torch.uint8 if chunk.element_size() == 1 else torch.int16)
                found = torch.bincount(bits & (len(short) - 1), minlength=len(short))
                np.add.at(counts, short, found.cpu().numpy())
            else:
                bits = chunk.float().view(torch.int32) & _MAGNITUDE
                counts += torch.bincount(bits >> _LOW_BITS, minlength=_BINS).cpu().numpy()
                if self._exact and bool((bits & _LOW_MASK).any()):
                    self._exact = False

    def profile(self, group: str) -> UnitProfile:
        """What was counted, by its group's ratio."""
        bins = np.flatnonzero(self._bins)
        cumulative = np.cumsum(self._bins[bins])
        weights = int(cumulative[-1]) if len(bins) else 0
        return UnitProfile(group, self._layers, weights, bins, cumulative, self._exact)


class DetailBuilder:
    """Counts the lower 13 bits of the float32 weights that fall into chosen bins, one bin a unit."""

    def __init__(self, bins: Mapping[str, int]) -> None:
        self._bins = dict(bins)
        self._counts = {name: np.zeros(_LOW_MASK + 1, np.int64) for name in bins}

    def add(self, group: str, weight: torch.Tensor, unit: str | None = None) -> None:
        """Count one layer's weight; see ProfileBuilder. Units without a chosen bin are skipped."""
        name = group if unit is None else unit
        if name not in self._bins:
            return
        for chunk in _chunks(weight):
            bits = chunk.float().view(torch.int32) & _MAGNITUDE
            low = bits[(bits >> _LOW_BITS) == self._bins[name]] & _LOW_MASK
            self._counts[name] += torch.bincount(low, minlength=_LOW_MASK + 1).cpu().numpy()

    def complete(self, profile: MagnitudeProfile) -> MagnitudeProfile:
        """``profile`` with the chosen bins counted to the last bit."""
        units = dict(profile.units)
        for name, found in self._bins.items():
            units[name] = units[name].with_detail({found: np.cumsum(self._counts[name])})
        return MagnitudeProfile(units)


def _as_float(bits: int) -> float:
    return float(np.array(bits, np.uint32).view(np.float32))


def _chunks(weight: torch.Tensor) -> tuple[torch.Tensor, ...]:
    if not weight.is_floating_point() or weight.element_size() > 4:
        raise UnsupportedModelError(f"CR-Diff cannot prune weights stored as {weight.dtype}.")
    flat = weight.detach().reshape(-1)
    if flat.device.type not in ("cpu", "cuda"):
        # Not every backend has bincount.
        flat = flat.cpu()
    return torch.split(flat, _CHUNK)


def _short_bins(dtype: torch.dtype) -> Bins | None:
    """The float32 bin of every non-negative bit pattern of an 8 or 16 bit dtype, None for other dtypes."""
    if dtype in (torch.float16, torch.bfloat16):
        patterns = torch.arange(1 << 15, dtype=torch.int16)
    elif dtype in (torch.float8_e4m3fn, torch.float8_e5m2):
        patterns = torch.arange(1 << 7, dtype=torch.uint8)
    else:
        return None
    bits: Bins = (patterns.view(dtype).float().view(torch.int32) & _MAGNITUDE).numpy().astype(np.int64)
    return bits >> _LOW_BITS


def _unit(name: str, record: Record) -> UnitProfile:
    header, prefix = json.loads(record.header[name]), f"{name}.detail."
    detail = {int(key[len(prefix) :]): counts for key, counts in record.arrays.items() if key.startswith(prefix)}
    return UnitProfile(
        header.get("group", name),
        header["layers"],
        header["weights"],
        record.arrays[f"{name}.bins"],
        record.arrays[f"{name}.cumulative"],
        bool(header["exact"]),
        detail,
    )
