"""The control: as many weights as the ratio says, wherever they are, always the same ones."""

from __future__ import annotations

import zlib

import torch

from crdiff.pruning.criterion import LinearCall
from crdiff.pruning.scored import ScoredCriterion
from crdiff.pruning.store import Store, WeightsState

_SEED = 2604
_WORD = 0xFFFFFFFF
_PART = 1 << 20
_BITS = 24
"""Of a hash that are used: as many as float32 holds exactly."""


def noise(call: LinearCall) -> torch.Tensor:
    """(out, in), uniform in [0, 1): a hash of each weight's place, which is the same on every device."""
    weight = call.weight
    start = zlib.crc32(f"{_SEED} {call.layer.name}".encode())
    found = torch.empty(weight.numel(), device=weight.device)
    # In parts, because the words take several times the memory of the weight.
    for first in range(0, len(found), _PART):
        places = torch.arange(first, min(first + _PART, len(found)), device=weight.device)
        found[first : first + _PART] = _mixed(_mixed(places) ^ start) >> (32 - _BITS)
    return found.mul_(2.0**-_BITS).reshape(weight.shape)


def _mixed(words: torch.Tensor) -> torch.Tensor:
    """Each 32 bit word turned into another as if at random (the finalizer of MurmurHash3)."""
    words = ((words ^ (words >> 16)) * 0x85EBCA6B) & _WORD
    words = ((words ^ (words >> 13)) * 0xC2B2AE35) & _WORD
    return words ^ (words >> 16)


def _by_ratio(scores: torch.Tensor, ratio: float) -> torch.Tensor:
    return scores.new_tensor([[ratio]])


class RandomCriterion(ScoredCriterion):
    """See Criterion. How many weights it comes to differs from the ratio by chance, by 0.01 % of a group or less."""

    def __init__(self, state: WeightsState, store: Store) -> None:
        super().__init__(state, store, "random", noise, _by_ratio)
