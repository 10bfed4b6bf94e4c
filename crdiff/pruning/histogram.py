"""The magnitude profile of a group: a cumulated integer histogram of |w|, exact for every ratio.

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
class GroupProfile:
    """The magnitudes of one group.

    Attributes:
        layers: number of Linears.
        weights: number of weights.
        bins: occupied bins, ascending: the upper 18 magnitude bits as float32.
        cumulative: number of weights in ``bins[:i + 1]``.
        exact: True if no weight has any of the lower 13 bits set, so that a bin is a single value.
        detail: per bin, the cumulated counts (8192,) of its lower 13 bits; only needed where not ``exact``, and only
            of the bins that were asked for last.
    """

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

    def with_detail(self, detail: Mapping[int, Counts]) -> GroupProfile:
        """This profile with more bins counted to the last bit; of many, the latest stay."""
        kept = list({**self.detail, **detail}.items())[-_DETAILS:]
        return replace(self, detail=dict(kept))


@dataclass(frozen=True)
class MagnitudeProfile:
    """The profiles of the three groups, by group name."""

    groups: Mapping[str, GroupProfile]

    def missing_bins(self, ratios: Ratios) -> dict[str, int]:
        """By group, the bin whose detail ``sparsity(ratios)`` needs and does not have yet; empty if it has all."""
        found = {group: self.groups[group].missing_bin(ratios[group]) for group in GROUPS}
        return {group: index for group, index in found.items() if index is not None}

    def sparsity(self, ratios: Ratios) -> dict[str, GroupSparsity]:
        """The threshold of each group and what it prunes.

        Raises:
            KeyError: the detail of ``missing_bins(ratios)`` has not been counted yet.
        """
        return {group: self.groups[group].sparsity(ratios[group]) for group in GROUPS}

    def to_record(self) -> Record:
        """The profile as it is stored."""
        header: dict[str, str] = {}
        arrays: dict[str, Counts] = {}
        for name, group in self.groups.items():
            header[name] = json.dumps({"layers": group.layers, "weights": group.weights, "exact": group.exact})
            arrays[f"{name}.bins"] = group.bins
            arrays[f"{name}.cumulative"] = group.cumulative
            for found, counts in group.detail.items():
                arrays[f"{name}.detail.{found}"] = counts
        return Record(header, arrays)

    @classmethod
    def from_record(cls, record: Record) -> MagnitudeProfile:
        """The profile of a record.

        Raises:
            KeyError, ValueError, TypeError: the record is not one of a profile.
        """
        return cls({name: _group(name, record) for name in GROUPS})


class ProfileBuilder:
    """Counts magnitudes, weight by weight, in any order; memory does not grow with the number of weights."""

    def __init__(self) -> None:
        self._counts = {group: np.zeros(_BINS, np.int64) for group in GROUPS}
        self._layers = dict.fromkeys(GROUPS, 0)
        self._exact = dict.fromkeys(GROUPS, True)

    def add(self, group: str, weight: torch.Tensor) -> None:
        """Count one layer's weight (any shape; fp8, fp16, bf16 or fp32; any device).

        Raises:
            UnsupportedModelError: the weight is not of a floating-point dtype up to 32 bits.
        """
        self._layers[group] += 1
        counts = self._counts[group]
        short = _short_bins(weight.dtype)
        for chunk in _chunks(weight):
            if short is not None:
                bits = chunk.view(torch.uint8 if chunk.element_size() == 1 else torch.int16)
                found = torch.bincount(bits & (len(short) - 1), minlength=len(short))
                np.add.at(counts, short, found.cpu().numpy())
            else:
                bits = chunk.float().view(torch.int32) & _MAGNITUDE
                counts += torch.bincount(bits >> _LOW_BITS, minlength=_BINS).cpu().numpy()
                if self._exact[group] and bool((bits & _LOW_MASK).any()):
                    self._exact[group] = False

    def build(self) -> MagnitudeProfile:
        """The profile of everything counted so far."""
        profiles = {}
        for group, counts in self._counts.items():
            bins = np.flatnonzero(counts)
            cumulative = np.cumsum(counts[bins])
            weights = int(cumulative[-1]) if len(bins) else 0
            profiles[group] = GroupProfile(self._layers[group], weights, bins, cumulative, self._exact[group])
        return MagnitudeProfile(profiles)


class DetailBuilder:
    """Counts the lower 13 bits of the float32 weights that fall into chosen bins, one bin a group."""

    def __init__(self, bins: Mapping[str, int]) -> None:
        self._bins = dict(bins)
        self._counts = {group: np.zeros(_LOW_MASK + 1, np.int64) for group in bins}

    def add(self, group: str, weight: torch.Tensor) -> None:
        """Count one layer's weight; groups without a chosen bin are skipped."""
        if group not in self._bins:
            return
        for chunk in _chunks(weight):
            bits = chunk.float().view(torch.int32) & _MAGNITUDE
            low = bits[(bits >> _LOW_BITS) == self._bins[group]] & _LOW_MASK
            self._counts[group] += torch.bincount(low, minlength=_LOW_MASK + 1).cpu().numpy()

    def complete(self, profile: MagnitudeProfile) -> MagnitudeProfile:
        """``profile`` with the chosen bins counted to the last bit."""
        groups = dict(profile.groups)
        for group, found in self._bins.items():
            groups[group] = groups[group].with_detail({found: np.cumsum(self._counts[group])})
        return MagnitudeProfile(groups)


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


def _group(name: str, record: Record) -> GroupProfile:
    header, prefix = json.loads(record.header[name]), f"{name}.detail."
    detail = {int(key[len(prefix) :]): counts for key, counts in record.arrays.items() if key.startswith(prefix)}
    return GroupProfile(
        header["layers"],
        header["weights"],
        record.arrays[f"{name}.bins"],
        record.arrays[f"{name}.cumulative"],
        bool(header["exact"]),
        detail,
    )
