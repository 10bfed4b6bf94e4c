"""Fused weights of which only a region is pruned: criteria see the region as if it were a layer of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from crdiff.models.architecture import Layer
from crdiff.pruning.criterion import LinearCall, Pruning


def in_regions(pruning: Pruning, layers: Sequence[Layer]) -> Pruning:
    """What prunes whole weights as ``pruning`` prunes the regions of them that these layers are about."""
    return pruning if all(layer.region is None for layer in layers) else _InRegions(pruning)


class _InRegions(Pruning):
    """Puts what ``pruning`` makes of each region back into its weight."""

    def __init__(self, pruning: Pruning) -> None:
        self._pruning = pruning

    def wants(self, layer: Layer) -> bool:
        return self._pruning.wants(layer)

    def factor(self, layer: Layer) -> float | None:
        return None if layer.region is not None else self._pruning.factor(layer)

    def residual(self, block: str) -> float:
        return self._pruning.residual(block)

    def weight(self, call: LinearCall) -> torch.Tensor:
        region = call.layer.region
        if region is None:
            return self._pruning.weight(call)
        factor, part = self._pruning.factor(call.layer), call.part()
        return region.within(call.weight, self._pruning.weight(part) if factor is None else part.weight * factor)

    def write(self, call: LinearCall, out: torch.Tensor) -> None:
        if call.layer.region is None:
            self._pruning.write(call, out)
        else:
            super().write(call, out)

    def ready(self, call: LinearCall) -> Callable[[], torch.Tensor] | None:
        return self._pruning.ready(call) if call.layer.region is None else super().ready(call)
