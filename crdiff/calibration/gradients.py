"""Gradients of a loss with respect to the weights of layers, as the layers use them.

The weights that are differentiated are aliases, put in their place on the way into the matmul: the model's own
parameters neither require nor get a gradient, whatever happens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from crdiff.models.architecture import Layer, find_layers
from crdiff.pruning.criterion import LinearCall, Pruning
from crdiff.pruning.hessian import exact_products
from crdiff.pruning.linear import LayerPatches


class _Aliases(Pruning):
    """A pass that computes what it always does, with an alias of each weight in its place."""

    def __init__(self) -> None:
        self.used: list[tuple[str, torch.Tensor]] = []

    def wants(self, layer: Layer) -> bool:
        return True

    def weight(self, call: LinearCall) -> torch.Tensor:
        alias = call.weight.detach().requires_grad_()
        self.used.append((call.layer.name, alias))
        return alias

    def ready(self, call: LinearCall) -> None:
        """Each pass has aliases of its own."""


def summed_gradients(model: torch.nn.Module, losses: Iterable[Callable[[], torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Of each layer that may be pruned, by name, the sum of the gradients of all losses, (out, in) float32.

    Args:
        model: the denoiser.
        losses: each computes one, 0-dimensional, with a pass of the model.

    Raises:
        UnsupportedModelError: a layer's weight cannot be reached.
    """
    sums: dict[str, torch.Tensor] = {}
    device = next(model.parameters()).device
    patches = LayerPatches(model, find_layers(model).prunable)
    patches.install()
    try:
        for loss in losses:
            aliases = _Aliases()
            with torch.enable_grad(), exact_products(device), patches.applying(aliases):
                value = loss()
                gradients = torch.autograd.grad(value, [alias for _, alias in aliases.used])
            for (name, _), gradient in zip(aliases.used, gradients):
                sums[name] = gradient.float() + sums.get(name, 0.0)
    finally:
        patches.remove()
    return sums
