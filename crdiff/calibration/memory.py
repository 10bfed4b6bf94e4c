"""How much memory the sums of a calibration take on the device that the model runs on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from crdiff.method.groups import GROUPS
from crdiff.pruning.copies import free_bytes, margin

_FLOAT = 4
_WORKING = 4
"""Copies of the largest Hessian: the product of one call, the sum before and after it, and the factor."""
_LEAST_SHARE = 4
"""One part in so many of free memory may be used, however little is free."""
_ONE_INPUT = re.compile(r"\.to_[qkv]$")


@dataclass(frozen=True)
class Input:
    """What a layer multiplies; queries, keys and values have one together.

    Attributes:
        group: of the layer.
        name: tells it from other inputs.
        size: features.
    """

    group: str
    name: str
    size: int

    @classmethod
    def of(cls, layer: str, group: str, size: int) -> Input:
        """The input of a layer of this name."""
        return cls(group, _ONE_INPUT.sub(".to_qkv", layer), size)


def column_bytes(inputs: Iterable[Input]) -> int:
    """Bytes of the sums of squares."""
    return _FLOAT * sum(one.size for one in set(inputs))


def hessian_bytes(inputs: Iterable[Input]) -> dict[str, int]:
    """Bytes of each group's Hessians; groups without layers are left out."""
    found = set(inputs)
    sizes = {group: [one.size for one in found if one.group == group] for group in GROUPS}
    return {group: _FLOAT * sum(size**2 for size in some) for group, some in sizes.items() if some}


def working_bytes(inputs: Iterable[Input]) -> int:
    """Bytes that gathering and inverting Hessians takes beside them."""
    return _FLOAT * _WORKING * max((one.size for one in inputs), default=0) ** 2


def fitting(needed: Mapping[str, int], working: int, device: torch.device) -> tuple[str, ...]:
    """The groups whose Hessians fit into the device's free memory together; all where nobody can tell how much is free.

    Args:
        needed: bytes by group.
        working: bytes beside them.
        device: the model's.
    """
    free = free_bytes(device)
    if free is None:
        return tuple(needed)
    return first_fitting(needed, max(free - margin(device), free // _LEAST_SHARE) - working)


def first_fitting(needed: Mapping[str, int], available: int) -> tuple[str, ...]:
    """The groups that fit into ``available`` bytes, the first ones first."""
    taken: tuple[str, ...] = ()
    for group, size in needed.items():
        if size <= available:
            taken, available = (*taken, group), available - size
    return taken
