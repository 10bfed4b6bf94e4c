"""Pruned copies of layers, kept from step to step while there is memory for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from crdiff.models.architecture import PrunedLayer
from crdiff.pruning.criterion import WeightUse
from crdiff.pruning.memory import Storage, copy_budget


@dataclass(frozen=True)
class _Copy:
    """A pruned weight, and which live weight it was made of."""

    pruned: torch.Tensor
    pointer: int
    version: int


class KeptWeights:
    """Hands out what ``use`` makes of each weight; of the largest layers it keeps it for the next pass.

    Only of weights that the layer multiplies by as they are stored: a weight that the host moves, casts, dequantises
    or merges on each use is not the same tensor again, so it is pruned on each use.

    Args:
        use: what prunes.
        layers: the layers that may be asked for.
        storage: how many copies to keep.
    """

    def __init__(self, use: WeightUse, layers: Sequence[PrunedLayer], storage: Storage = Storage.AUTO) -> None:
        self._use = use
        self._layers = [layer for layer in layers if use.wants(layer)]
        self._storage = storage
        self._chosen: frozenset[str] | None = None
        self._passes = 0
        self._copies: dict[str, _Copy] = {}

    def wants(self, layer: PrunedLayer) -> bool:
        return self._use.wants(layer)

    def __call__(self, layer: PrunedLayer, weight: torch.Tensor) -> torch.Tensor:
        copy = self._copies.get(layer.name)
        if copy is not None and copy.pointer == weight.data_ptr() and copy.version == _version(weight):
            return copy.pruned
        pruned = self._use(layer, weight)
        if self._keeps(layer, weight):
            # What prunes may hand out a buffer of its own that it uses again.
            pruned = pruned.clone()
            self._copies[layer.name] = _Copy(pruned, weight.data_ptr(), _version(weight))
        return pruned

    def next_pass(self) -> None:
        """A pass begins. Copies are made from the second one on, when the host's peak of memory is known."""
        self._passes += 1

    @property
    def kept_bytes(self) -> int:
        """Memory that the copies take."""
        return sum(copy.pruned.numel() * copy.pruned.element_size() for copy in self._copies.values())

    def drop(self) -> bool:
        """Free all copies and keep no more; whether there were any."""
        had = bool(self._copies)
        self._copies, self._chosen = {}, frozenset()
        return had

    def _keeps(self, layer: PrunedLayer, weight: torch.Tensor) -> bool:
        stored = layer.module.weight
        if not isinstance(stored, torch.Tensor) or weight.data_ptr() != stored.data_ptr() or self._passes < 2:
            return False
        if weight.dtype != stored.dtype or weight.element_size() == 1:
            return False
        if self._chosen is None:
            self._chosen = self._choose(weight)
        return layer.name in self._chosen

    def _choose(self, weight: torch.Tensor) -> frozenset[str]:
        """The largest layers that fit into the budget together."""
        left = copy_budget(weight.device, self._storage)
        chosen = []
        for layer in sorted(self._layers, key=lambda layer: -layer.features[0] * layer.features[1]):
            need = layer.features[0] * layer.features[1] * weight.element_size()
            if need <= left:
                chosen.append(layer.name)
                left -= need
        return frozenset(chosen)


def _version(weight: torch.Tensor) -> int:
    """Counts changes in place, where torch does: not in tensors made in inference mode."""
    return -1 if weight.is_inference() else weight._version
