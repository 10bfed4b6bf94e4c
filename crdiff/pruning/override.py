"""Dormant overrides on a UNet's pruned layers: the weight is changed on its way into the matmul, never in place.

An override calls the layer exactly as it was and, only while a pass asks for it, replaces the weight argument of the
layer's ``torch.nn.functional.linear`` call. That is after the host has moved, cast, dequantised and LoRA-merged it,
and it works for any Linear class that ends in that function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from crdiff.errors import UnsupportedModelError
from crdiff.model.layers import PrunedLayer
from crdiff.pruning.criterion import WeightUse

Forward = Callable[..., torch.Tensor]


class LayerRun(Protocol):
    """Runs a layer's forward with another weight. Hosts whose layers add to the product bring their own."""

    def __call__(
        self, layer: PrunedLayer, forward: Forward, use: WeightUse, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> torch.Tensor: ...


class _LinearWeight(TorchFunctionMode):
    """Replaces the weight of the first ``linear`` call whose weight has the layer's own shape.

    A layer's forward may hold further ``linear`` calls, such as an unmerged LoRA's.
    """

    def __init__(self, layer: PrunedLayer, use: WeightUse) -> None:
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
    layer: PrunedLayer, forward: Forward, use: WeightUse, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> torch.Tensor:
    """The layer's own forward with ``use`` applied to its weight.

    Raises:
        UnsupportedModelError: the layer does not multiply through ``torch.nn.functional.linear``.
    """
    with _LinearWeight(layer, use) as linear:
        result = forward(*args, **kwargs)
    if not linear.used:
        raise UnsupportedModelError(
            f"CR-Diff cannot reach the weights of {type(layer.module).__name__} layers: "
            "they do not multiply through torch.nn.functional.linear (fast fp8, 4-bit or compiled layers)."
        )
    return result


class _Override:
    """A layer's forward from ``install`` on. Once it is dormant, without an owner, it only calls through."""

    def __init__(self, owner: LayerOverrides, layer: PrunedLayer) -> None:
        self.owner: LayerOverrides | None = owner
        self.layer = layer
        # Another extension's override of this very layer, if any: ours runs around it.
        self.previous: Forward | None = layer.module.__dict__.get("forward")
        while isinstance(self.previous, _Override) and self.previous.owner is None:
            # One of ours that was wrapped when it was removed, and that the wrapper has put back.
            self.previous = self.previous.previous

    def __call__(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        module = self.layer.module
        # The class's forward is looked up at the call, because hosts patch it at run time (LoRA, manual cast).
        own: Forward = self.previous if self.previous is not None else type(module).forward.__get__(module)
        return own(*args, **kwargs) if self.owner is None else self.owner.run(self.layer, own, args, kwargs)


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
        self.used = 0
        """How many layer calls the last ``applying`` block reached."""
        self._installed: list[_Override] = []

    def install(self) -> None:
        """Put the overrides in place; until ``applying`` they do nothing but call through."""
        try:
            for layer in self.layers:
                override = _Override(self, layer)
                self._installed.append(override)
                layer.module.forward = override
        except BaseException:
            self.remove()
            raise

    def run(self, layer: PrunedLayer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
        """A layer's forward, with the weight of the pass that is under way."""
        use = self._use
        if use is None:
            return forward(*args, **kwargs)
        self.used += 1
        return self._run(layer, forward, use, args, kwargs)

    def remove(self) -> None:
        """Take the overrides away. One that somebody has wrapped meanwhile stays dormant, so as not to cut them off."""
        self._use = None
        for override in reversed(self._installed):
            override.owner = None
            module = override.layer.module
            if module.__dict__.get("forward") is not override:
                continue
            if override.previous is None:
                del module.__dict__["forward"]
            else:
                module.forward = override.previous
        self._installed.clear()

    @contextmanager
    def applying(self, use: WeightUse) -> Iterator[None]:
        """Within the block every layer multiplies by what ``use`` makes of its weight."""
        self._use = use
        self.used = 0
        try:
            yield
        finally:
            self._use = None
