"""What lies between the dense and the pruned pass, and beyond: amplification in the weights, not the predictions."""

from __future__ import annotations

from collections.abc import Callable

import torch

from crdiff.method.amplify import amplify_factor, amplify_weight
from crdiff.models.architecture import Layer
from crdiff.pruning.criterion import LinearCall, Pruning
from crdiff.pruning.masking import Scratch


class Mixed(Pruning):
    """``k * pruned + (1 - k) * dense`` of everything that ``pruning`` changes.

    Args:
        pruning: the pruned pass.
        k: amplification.
    """

    def __init__(self, pruning: Pruning, k: float) -> None:
        self._pruning, self._k = pruning, k
        self._scratch = Scratch()

    def wants(self, layer: Layer) -> bool:
        return self._pruning.wants(layer)

    def weight(self, call: LinearCall) -> torch.Tensor:
        pruned = self._pruning.weight(call)
        differentiated = torch.is_grad_enabled() and (call.weight.requires_grad or pruned.requires_grad)
        return amplify_weight(call.weight, pruned, self._k, None if differentiated else self._scratch.like(pruned))

    def write(self, call: LinearCall, out: torch.Tensor) -> None:
        amplify_weight(call.weight, self._pruning.weight(call), self._k, out)

    def ready(self, call: LinearCall) -> Callable[[], torch.Tensor] | None:
        weight, pruned = call.weight, self._pruning.ready(call)
        if pruned is None or (torch.is_grad_enabled() and weight.requires_grad):
            return None
        out = self._scratch.like(weight)

        def mixed() -> torch.Tensor:
            found = pruned()
            return amplify_weight(
                weight, found, self._k, out if found.dtype is out.dtype else self._scratch.like(found)
            )

        return mixed

    def factor(self, layer: Layer) -> float | None:
        factor = self._pruning.factor(layer)
        return None if factor is None else amplify_factor(factor, self._k)

    def residual(self, block: str) -> float:
        return amplify_factor(self._pruning.residual(block), self._k)
