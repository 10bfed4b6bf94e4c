"""Weights between the dense and the pruned ones, and beyond: amplification in the weights instead of the outputs."""

from __future__ import annotations

import torch

from crdiff.models.architecture import PrunedLayer
from crdiff.pruning.criterion import WeightUse
from crdiff.pruning.shrink import towards


class MixedWeights:
    """``k * pruned + (1 - k) * dense`` of each weight that ``use`` prunes.

    Args:
        use: what prunes; gives a tensor of its own or a buffer, never the live weight of a layer it wants.
        k: amplification.
    """

    def __init__(self, use: WeightUse, k: float) -> None:
        self._use, self._k = use, k

    def wants(self, layer: PrunedLayer) -> bool:
        return self._use.wants(layer)

    def __call__(self, layer: PrunedLayer, weight: torch.Tensor) -> torch.Tensor:
        return towards(weight, self._use(layer, weight), self._k)
