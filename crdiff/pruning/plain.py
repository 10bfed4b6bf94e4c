"""Layers that multiply by the weight they hold and do nothing else: the pruned pass runs them without their forward.

Where a step's time is the processor's, as on a fast GPU, what counts is the time between two launches. A layer found to
be plain is left alone in the dense pass, and in the pruned one its forward is a function that has everything at hand.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from crdiff.models.architecture import Layer
from crdiff.patching import Original
from crdiff.pruning.criterion import LinearCall, Pruning

_HARMLESS = ("__get__", "to")
"""Functions of tensors that neither compute nor change anything: attributes, and casts to what a tensor already is."""


class PlainWatch(TorchFunctionMode):
    """Watches a layer's forward, to tell whether the layer is plain.

    Args:
        layer: the layer.
        forward: its forward, which ``watched`` runs.
    """

    def __init__(self, layer: Layer, forward: Original) -> None:
        super().__init__()
        self._module, self._forward = layer.module, forward
        self._runs: list[tuple[Any, Any]] = []
        self._linears: list[tuple[dict[str, Any], Any]] = []
        self._else = False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func is functional.linear:
            self._linears.append((dict(zip(("input", "weight", "bias"), args)) | kwargs, result))
        elif getattr(func, "__name__", "") not in _HARMLESS:
            self._else = True
        return result

    def watched(self, *args: Any, **kwargs: Any) -> Any:
        """The forward, watched."""
        with self:
            result = self._forward(*args, **kwargs)
        self._runs.append((args[0] if len(args) == 1 and not kwargs else None, result))
        return result

    def plain(self, result: object) -> bool:
        """Whether the class's own forward gave ``result`` by one product with the weight and bias that the layer holds.

        Nothing of it may be another extension's: no override, no hook.
        """
        module = self._module
        own = getattr(self._forward, "__func__", None) is type(module).forward
        if not own or module._forward_hooks or module._forward_pre_hooks or not hasattr(module, "_parameters"):
            return False
        if self._else or len(self._runs) != 1 or len(self._linears) != 1:
            return False
        ((given, returned),), ((arguments, product),) = self._runs, self._linears
        weight, bias = module._parameters.get("weight"), module._parameters.get("bias")
        return (
            returned is product
            and result is product
            and arguments["input"] is given
            and arguments["weight"] is weight
            and arguments.get("bias") is bias
            and type(weight) is torch.nn.Parameter
            and weight.is_floating_point()
            and weight.element_size() > 1
        )


class PlainLayer:
    """A plain layer's stand-in for the time of a pruned pass.

    Args:
        layer: the layer.
        otherwise: what runs a call of the layer when it is no longer as it was.
        reached: told of every call.
    """

    def __init__(self, layer: Layer, otherwise: Callable[..., Any], reached: Callable[[], None]) -> None:
        module = layer.module
        self.layer, self._otherwise, self._reached = layer, otherwise, reached
        self._own, self._class = type(module).forward, type(module)
        self._parameters = module._parameters
        self._weight: torch.Tensor = module.get_parameter("weight")
        self._bias = module._parameters.get("bias")
        # Any other class's forward may cast its weight to what it meets.
        self._casts = self._own is not torch.nn.Linear.forward
        self._pointer = self._version = -1
        self._product: Callable[[torch.Tensor], torch.Tensor] | None = None
        self._attributes = module.__dict__
        self._whole, self._half = self._run, self._run_half
        self._entered: Callable[..., Any] | None = None

    def enter(self, *, half: bool) -> None:
        """Stand in for the layer's forward; ``half``: for the first half of the rows only."""
        self._entered = self._half if half else self._whole
        self._attributes["forward"] = self._entered

    def leave(self) -> None:
        """Let the layer run its own forward again, unless another extension has wrapped this one meanwhile."""
        if self._entered is not None:
            if self._attributes.get("forward") is self._entered:
                del self._attributes["forward"]
            self._entered = None

    def retire(self) -> None:
        """Never stand in again; whoever has wrapped this calls the layer's own forward through it."""
        self.forget()
        self._otherwise = partial(self._own, self.layer.module)

    def forget(self) -> None:
        """Keep nothing of what ``ready`` was given."""
        self._product = None

    @property
    def stale(self) -> bool:
        """Whether ``ready`` has to be called again."""
        return self._product is None

    def holds(self) -> bool:
        """Whether nobody has replaced the layer's forward or hung anything onto it, as far as seen from outside."""
        module = self.layer.module
        return not (
            "forward" in module.__dict__
            or module._forward_hooks
            or module._forward_pre_hooks
            or self._class.forward is not self._own
            or self._parameters.get("weight") is not self._weight
        )

    def ready(self, pruning: Pruning) -> None:
        """Have at hand what ``pruning`` makes of the weight as it is now."""
        weight, bias = self._weight, self._bias
        self._pointer, self._version = weight.data_ptr(), version(weight)
        self._product = None
        if weight.requires_grad and torch.is_grad_enabled():
            return
        factor = pruning.factor(self.layer)
        if factor is not None:
            self._product = partial(scaled_linear, factor, weight, bias)
        elif (make := pruning.ready(LinearCall(self.layer, weight))) is not None:
            self._product = partial(_changed_linear, make, bias)

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        """A call of the layer."""
        if self._product is None or not self._unchanged(args, kwargs):
            return self._otherwise(*args, **kwargs)
        self._reached()
        return self._product(args[0])

    def _run_half(self, *args: Any, **kwargs: Any) -> Any:
        """The same with the second half of the rows as in the dense pass."""
        if self._product is None or not self._unchanged(args, kwargs):
            return self._otherwise(*args, **kwargs)
        self._reached()
        x = args[0]
        rows = len(x) // 2
        return torch.cat([self._product(x[:rows]), functional.linear(x[rows:], self._weight, self._bias)])

    def _unchanged(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether the call, the class and the weight are what they were; hosts move, merge and replace weights."""
        weight = self._weight
        if (
            kwargs
            or len(args) != 1
            or self._parameters.get("weight") is not weight
            or self._parameters.get("bias") is not self._bias
            or weight.data_ptr() != self._pointer
            or version(weight) != self._version
            or self._class.forward is not self._own
        ):
            self._product = None
            return False
        return not self._casts or (args[0].dtype is weight.dtype and args[0].device == weight.device)


def scaled_linear(factor: float, weight: torch.Tensor, bias: torch.Tensor | None, x: torch.Tensor) -> torch.Tensor:
    """The layer's product, (..., out), with its weight times ``factor``, which the kernel takes at no cost."""
    if x.device.type not in ("cpu", "cuda"):
        # Not every backend's kernel takes one.
        return functional.linear(x * factor, weight, bias)
    rows = x.reshape(-1, x.shape[-1])
    if bias is None:
        product = torch.addmm(x.new_empty(()), rows, weight.t(), beta=0, alpha=factor)
    else:
        product = torch.addmm(bias, rows, weight.t(), alpha=factor)
    return product.view(*x.shape[:-1], len(weight))


def _changed_linear(make: Callable[[], torch.Tensor], bias: torch.Tensor | None, x: torch.Tensor) -> torch.Tensor:
    return functional.linear(x, make(), bias)


def version(weight: torch.Tensor) -> int:
    """Counts changes in place, where torch does: not in tensors made in inference mode."""
    return -1 if weight.is_inference() else weight._version
