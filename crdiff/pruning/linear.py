"""Dormant overrides on a UNet's pruned layers: the weight is changed on its way into the matmul, never in place.

An override calls the layer exactly as it was and, only while a pass asks for it, replaces the weight argument of the
layer's ``torch.nn.functional.linear`` call. That is after the host has moved, cast, dequantised and LoRA-merged it,
and it works for any Linear class that ends in that function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from crdiff.errors import UnsupportedModelError
from crdiff.models.architecture import PrunedLayer
from crdiff.patching import Forward, ForwardOverride
from crdiff.pruning.criterion import WeightUse

ChangeWeight = Callable[[PrunedLayer, torch.Tensor], torch.Tensor]


class LayerRun(Protocol):
    """Runs a layer's forward with another weight. Hosts whose layers add to the product bring their own."""

    def __call__(
        self, layer: PrunedLayer, forward: Forward, use: ChangeWeight, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> torch.Tensor: ...


class _LinearWeight(TorchFunctionMode):
    """Replaces the weight of the first ``linear`` call whose weight has the layer's own shape.

    A layer's forward may hold further ``linear`` calls, such as an unmerged LoRA's.
    """

    def __init__(self, layer: PrunedLayer, use: ChangeWeight) -> None:
        super().__init__()
        self._layer, self._use = layer, use
        self._shape = layer.features
        self.used = False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is functional.linear and not self.used:
            weight = args[1] if len(args) > 1 else kwargs["weight"]
            if tuple(weight.shape) == self._shape:
                self.used = True
                weight = self._use(self._layer, weight)
                if len(args) > 1:
                    args = (args[0], weight, *args[2:])
                else:
                    kwargs = {**kwargs, "weight": weight}
        return func(*args, **kwargs)


def run_with_weight(
    layer: PrunedLayer, forward: Forward, use: ChangeWeight, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> torch.Tensor:
    """The layer's own forward with ``use`` applied to its weight.

    Raises:
        UnsupportedModelError: the layer does not multiply through ``torch.nn.functional.linear``.
    """
    with _LinearWeight(layer, use) as linear:
        result: torch.Tensor = forward(*args, **kwargs)
    if not linear.used:
        raise UnsupportedModelError(
            f"CR-Diff cannot reach the weights of {type(layer.module).__name__} layers: "
            "they do not multiply through torch.nn.functional.linear (fast fp8, 4-bit or compiled layers)."
        )
    return result


class LayerOverrides:
    """The overrides of one UNet's pruned layers, from ``install`` to ``remove``.

    Args:
        layers: the layers.
        run: how a layer's forward is run with another weight.
    """

    def __init__(self, layers: tuple[PrunedLayer, ...], run: LayerRun = run_with_weight) -> None:
        self.layers = layers
        self._run = run
        self._use: WeightUse | None = None
        self._half = False
        self.used = 0
        """How many layer calls the last ``applying`` block reached."""
        self._installed: list[ForwardOverride] = []

    def install(self) -> None:
        """Put the overrides in place; until ``applying`` they do nothing but call through."""
        try:
            for layer in self.layers:
                self._installed.append(ForwardOverride(layer.module, partial(self._call, layer)))
        except BaseException:
            self.remove()
            raise

    def _call(self, layer: PrunedLayer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A layer's forward, with the weight of the pass that is under way."""
        use = self._use
        if use is None:
            return forward(*args, **kwargs)
        self.used += 1
        if not use.wants(layer):
            return forward(*args, **kwargs)
        if not self._half:
            return self._run(layer, forward, use, args, kwargs)
        first, second = args[0].chunk(2)
        changed = self._run(layer, forward, use, (first, *args[1:]), kwargs)
        return torch.cat([changed, forward(second, *args[1:], **kwargs)])

    def remove(self) -> None:
        """Take the overrides away."""
        self._use = None
        for override in reversed(self._installed):
            override.remove()
        self._installed.clear()

    @contextmanager
    def applying(self, use: WeightUse, *, half: bool = False) -> Iterator[None]:
        """Within the block every layer that ``use`` wants multiplies by what it makes of the layer's weight.

        Args:
            use: what changes the weights.
            half: only the first half of each batch; the second half runs with the weights as they are.
        """
        self._use, self._half = use, half
        self.used = 0
        try:
            yield
        finally:
            self._use = None
