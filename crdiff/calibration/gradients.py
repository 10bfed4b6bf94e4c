"""Gradients of a loss with respect to the weights of layers, as the layers use them.

Each weight passes a seam on its way into the matmul, at which its gradient is added to a sum on the way back and goes
no further: the model's own parameters neither require nor get a gradient, whatever happens.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.autograd.graph import allow_mutation_on_saved_tensors
from torch.overrides import TorchFunctionMode

from crdiff.errors import CRDiffError
from crdiff.guidance.random_state import RandomState
from crdiff.models.architecture import Layer, find_layers
from crdiff.patching import Original, Patch
from crdiff.pruning.copies import free_bytes
from crdiff.pruning.criterion import LinearCall, Pruning
from crdiff.pruning.hessian import Matrices, Matrix
from crdiff.pruning.linear import LayerPatches

_SUM_BYTES, _KEPT_BYTES = 4, 2
_LARGEST = 2.0**15
"""What the largest gradient is brought to by a power of two, to be kept in half precision."""
_NO_MEMORY = (
    "There is not enough free memory for gradients, which take {} MB beside what a pass takes; nothing was kept."
)
_IN_PLACE = "Gradients cannot be computed in this WebUI, whose UNet writes over what they need. Calibrate without them."
_OUT_OF_MEMORY = "The memory ran out while gradients were computed; nothing was kept. Calibrate without them."


class NoGradientsError(CRDiffError):
    """Gradients cannot be computed."""


class Gradients:
    """The sums of the gradients of a model's layers.

    Attributes:
        sums: (out, in) float32, by name, on the model's device.
        dropped: how many were left out because they held values that are not finite.
    """

    def __init__(self) -> None:
        self.sums: dict[str, torch.Tensor] = {}
        self.dropped = 0

    def halves(self) -> Matrices:
        """They as they are now, in half precision, all times one power of two."""
        largest = max((float(total.abs().max()) for total in self.sums.values()), default=0.0)
        scale = 2.0 ** math.floor(math.log2(_LARGEST / largest)) if largest > 0.0 else 1.0
        return _Halves(self.sums, scale)

    def add(self, name: str, gradient: torch.Tensor) -> None:
        """One more of a layer, (out, in)."""
        if not bool(gradient.isfinite().all()):
            self.dropped += 1
        elif name in self.sums:
            self.sums[name] += gradient
        else:
            self.sums[name] = gradient.float().clone()

    def gather(self, model: torch.nn.Module, patches: LayerPatches, loss: Callable[[], torch.Tensor]) -> None:
        """Add the gradients of a loss.

        Transformer blocks keep their input alone and are computed again on the way back. What the model writes over in
        place is copied first where a gradient needs it.

        Args:
            model: the denoiser.
            patches: of its layers, in place.
            loss: computes it, 0-dimensional, with a pass of the model.

        Raises:
            UnsupportedModelError: a layer's weight cannot be reached.
            NoGradientsError: there is not enough memory, or the model writes in place where autograd cannot follow.
        """
        self._check_memory(patches.layers)
        names = dict.fromkeys(layer.block for layer in patches.layers if layer.block)
        blocks = [model.get_submodule(name) for name in names]
        try:
            with ExitStack() as within:
                recorded = (torch.inference_mode(False), torch.enable_grad(), allow_mutation_on_saved_tensors())
                for one in (*recorded, _Recordable()):
                    within.enter_context(one)
                anchor = torch.ones((), requires_grad=True)
                within.enter_context(_computed_again(blocks, anchor))
                within.enter_context(patches.applying(_Seams(self, anchor)))
                torch.autograd.backward(loss(), inputs=[anchor])
        except torch.cuda.OutOfMemoryError as error:
            raise NoGradientsError(_OUT_OF_MEMORY) from error
        except RuntimeError as error:
            if re.search("in-?place", str(error)) is None:
                raise
            raise NoGradientsError(_IN_PLACE) from error

    def _check_memory(self, layers: tuple[Layer, ...]) -> None:
        """Before the first loss."""
        if self.sums or not layers:
            return
        needed = gathered_bytes(layer.features for layer in layers)
        free = free_bytes(next(layers[0].module.parameters()).device)
        if free is not None and free < needed:
            raise NoGradientsError(_NO_MEMORY.format(needed // 10**6))


def gathered_bytes(shapes: Iterable[tuple[int, int]]) -> int:
    """Bytes that the sums of layers of these shapes take on the model's device."""
    return _SUM_BYTES * sum(out * columns for out, columns in shapes)


def kept_bytes(shapes: Iterable[tuple[int, int]]) -> int:
    """Bytes that they take on disk."""
    return _KEPT_BYTES * sum(out * columns for out, columns in shapes)


def summed_gradients(model: torch.nn.Module, losses: Iterable[Callable[[], torch.Tensor]]) -> Gradients:
    """Of each layer that may be pruned, the sum of the gradients of all losses.

    Args:
        model: the denoiser.
        losses: each computes one, 0-dimensional, with a pass of the model.

    Raises:
        UnsupportedModelError: a layer's weight cannot be reached.
        NoGradientsError: there is not enough memory.
    """
    gradients = Gradients()
    patches = LayerPatches(model, find_layers(model).prunable)
    patches.install()
    try:
        for loss in losses:
            gradients.gather(model, patches, loss)
    finally:
        patches.remove()
    return gradients


@dataclass(frozen=True)
class _Halves:
    """See Matrices."""

    sums: Mapping[str, torch.Tensor]
    scale: float

    @property
    def keys(self) -> Mapping[str, str]:
        return {name: name for name in self.sums}

    def get(self, key: str) -> Matrix:
        found: Matrix = self.sums[key].mul(self.scale).half().cpu().numpy()
        return found


class _Seam(torch.autograd.Function):
    """A weight as it is. Its gradient is handed over, and no leaf of the model is reached."""

    @staticmethod
    def forward(
        ctx: Any, weight: torch.Tensor, anchor: torch.Tensor, add: Callable[[torch.Tensor], None]
    ) -> torch.Tensor:
        ctx.add = add
        return weight.view_as(weight)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[None, None, None]:
        ctx.add(gradients[0])
        return None, None, None


class _Seams(Pruning):
    """A pass that computes what it always does, with each weight behind a seam.

    Args:
        gradients: get what arrives.
        anchor: what is differentiated by in name, 0-dimensional: the seams lie on the way to it.
    """

    def __init__(self, gradients: Gradients, anchor: torch.Tensor) -> None:
        self._gradients, self._anchor = gradients, anchor

    def wants(self, layer: Layer) -> bool:
        return True

    def weight(self, call: LinearCall) -> torch.Tensor:
        weight = _recordable(call.weight.detach())
        found: torch.Tensor = _Seam.apply(weight, self._anchor, partial(self._gradients.add, call.layer.name))  # type: ignore[no-untyped-call]
        return found

    def ready(self, call: LinearCall) -> None:
        """Each pass has seams of its own."""


class _Recordable(TorchFunctionMode):
    """Within it autograd can record what hosts compute that never do: on weights made in inference mode, as which Forge
    makes its models, of which it can save no more than aliases.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.Tensor.is_inference:
            return func(*args)
        return func(*_recordable(args), **_recordable(kwargs or {}))


def _recordable(value: Any) -> Any:
    """``value`` with an alias in place of each tensor made in inference mode, in tuples, lists and dicts too."""
    if type(value) in (torch.Tensor, torch.nn.Parameter) and value.is_inference():
        alias = torch.empty(0, dtype=value.dtype, device=value.device)
        return alias.set_(value.untyped_storage(), value.storage_offset(), value.size(), value.stride())
    if type(value) in (tuple, list):
        return type(value)(_recordable(one) for one in value)
    if type(value) is dict:
        return {key: _recordable(one) for key, one in value.items()}
    return value


class _Again(torch.autograd.Function):
    """A block that keeps its input alone and is computed again on the way back, with the same random numbers.

    Each time it has a copy of the input to write into. In the checkpoints of torch it would write over what these have
    kept of the second time, and nothing would notice.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, anchor: torch.Tensor, block: Callable[[torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        ctx.save_for_backward(x)
        ctx.anchor, ctx.block, ctx.random = anchor, block, RandomState.capture(x.device)
        return block(x.clone())

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, None, None]:
        (x,) = ctx.saved_tensors
        now = RandomState.capture(x.device)
        ctx.random.restore()
        try:
            with torch.enable_grad(), _Recordable():
                x = x.detach().requires_grad_()
                found = torch.autograd.grad(ctx.block(x.clone()), (x, ctx.anchor), gradients, allow_unused=True)
        finally:
            now.restore()
        return found[0], None, None


@contextmanager
def _computed_again(blocks: Iterable[torch.nn.Module], anchor: torch.Tensor) -> Iterator[None]:
    """Blocks' first argument is their input; others need no gradients."""

    def patched(forward: Original, *args: Any, **kwargs: Any) -> Any:
        (x, *others), named = _recordable(args), _recordable(kwargs)
        return _Again.apply(x, anchor, lambda given: forward(given, *others, **named))  # type: ignore[no-untyped-call]

    with ExitStack() as patches:
        for block in blocks:
            patches.callback(Patch(block, "forward", patched).remove)
        yield
