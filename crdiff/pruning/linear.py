"""Dormant patches on a model's layers: what the pruned pass changes, it changes on the way into the matmul.

A patch calls the layer exactly as it was and, only while a pass asks for it, replaces the weight argument of the
layer's ``torch.nn.functional.linear`` call. That is after the host has moved, cast, dequantised and LoRA-merged it, and
it works for any Linear class that ends in that function. No weight is ever edited in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, Protocol

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from crdiff.errors import UnsupportedModelError
from crdiff.models.architecture import Layer
from crdiff.patching import Original, Patch
from crdiff.pruning.criterion import LinearCall, Pruning, Watcher
from crdiff.pruning.plain import PlainLayer, PlainWatch

ChangeWeight = Callable[[LinearCall], torch.Tensor]


class LayerRun(Protocol):
    """Runs a layer's forward with another weight. Hosts whose layers add to the product bring their own."""

    def __call__(
        self, layer: Layer, forward: Original, change: ChangeWeight, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> torch.Tensor: ...


class _LinearWeight(TorchFunctionMode):
    """Replaces the weight of the first ``linear`` call whose weight has the layer's own shape.

    A layer's forward may hold further ``linear`` calls, such as an unmerged LoRA's.
    """

    def __init__(self, layer: Layer, change: ChangeWeight) -> None:
        super().__init__()
        self._layer, self._change = layer, change
        self._shape = layer.features
        self.used = False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is functional.linear and not self.used:
            given = dict(zip(("input", "weight", "bias"), args)) | kwargs
            if tuple(given["weight"].shape) == self._shape:
                self.used = True
                weight = self._change(LinearCall(self._layer, given["weight"], given["input"]))
                return func(given["input"], weight, given.get("bias"))
        return func(*args, **kwargs)


def run_with_weight(
    layer: Layer, forward: Original, change: ChangeWeight, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> torch.Tensor:
    """The layer's own forward with ``change`` applied to its weight.

    Raises:
        UnsupportedModelError: the layer does not multiply through ``torch.nn.functional.linear``.
    """
    with _LinearWeight(layer, change) as linear:
        result: torch.Tensor = forward(*args, **kwargs)
    if not linear.used:
        raise UnsupportedModelError(
            f"CR-Diff cannot reach the weights of {type(layer.module).__name__} layers: "
            "they do not multiply through torch.nn.functional.linear (fast fp8, 4-bit or compiled layers)."
        )
    return result


class LayerPatches:
    """The patches on one model, from ``install`` to ``remove``.

    Args:
        model: the model.
        layers: of it, those that may be pruned.
        run: how a layer's forward is run with another weight.
    """

    def __init__(self, model: torch.nn.Module, layers: tuple[Layer, ...], run: LayerRun = run_with_weight) -> None:
        self.layers = layers
        self._run = run
        self._pruning: Pruning | None = None
        self._half = False
        self.used = 0
        """How many layer calls the last ``applying`` block reached."""
        self._blocks = {
            name: model.get_submodule(name) for name in dict.fromkeys(layer.block for layer in layers) if name
        }
        self._patched_blocks: set[str] = set()
        self._installed: list[Patch] = []
        self._patches: dict[str, Patch] = {}
        self._watched: set[str] = set()
        self._found: list[Layer] = []
        self._plain: list[PlainLayer] = []
        self._ready: tuple[Pruning | None, int] = (None, 0)

    def install(self) -> None:
        """Put the patches in place; until ``applying`` they do nothing but call through."""
        try:
            for layer in self.layers:
                self._patch(layer)
        except BaseException:
            self.remove()
            raise

    def remove(self) -> None:
        """Take the patches away."""
        self._pruning = None
        for patch in reversed(self._installed):
            patch.remove()
        self._installed.clear()
        self._patched_blocks.clear()
        self._patches.clear()
        self._found.clear()
        self._plain.clear()
        self._ready = (None, 0)

    def forget(self) -> None:
        """Keep nothing of the pruning that was applied last."""
        self._ready = (None, 0)
        for plain in self._plain:
            plain.forget()

    def _patch(self, layer: Layer) -> None:
        patch = Patch(layer.module, "forward", partial(self._run_layer, layer))
        self._patches[layer.name] = patch
        self._installed.append(patch)

    @contextmanager
    def applying(self, pruning: Pruning, *, half: bool = False) -> Iterator[None]:
        """Within the block the model computes what ``pruning`` makes of it.

        Args:
            pruning: what changes the layers and blocks.
            half: only the first half of each batch; the second half is computed as without it.
        """
        self._part_with_plain_ones()
        if self._ready != (pruning, pruning.changes):
            self._patch_blocks(pruning)
        self._pruning, self._half = pruning, half
        self.used = 0
        try:
            self._stand_in(pruning)
            yield
        finally:
            self._pruning = None
            for plain in self._plain:
                plain.leave()

    def _part_with_plain_ones(self) -> None:
        """Layers that the last pass found to be plain need no patch any more."""
        for layer in self._found:
            patch = self._patches[layer.name]
            patch.remove()
            if "forward" in layer.module.__dict__:  # wrapped by another extension meanwhile
                self._patch(layer)
            else:
                self._installed.remove(patch)
                self._plain.append(PlainLayer(layer, partial(self._otherwise, layer), self._reached))
                self._ready = (None, 0)
        self._found.clear()

    def _stand_in(self, pruning: Pruning) -> None:
        """Let the plain layers run as this pass wants them, and give those a patch again that no longer are plain."""
        for plain in [plain for plain in self._plain if not plain.holds()]:
            self._plain.remove(plain)
            plain.retire()
            self._patch(plain.layer)
        known = self._ready == (pruning, pruning.changes)
        for plain in self._plain:
            if pruning.wants(plain.layer):
                if plain.stale or not known:
                    plain.ready(pruning)
                plain.enter(half=self._half)
        self._ready = (pruning, pruning.changes)

    def _reached(self) -> None:
        self.used += 1

    def _otherwise(self, layer: Layer, *args: Any, **kwargs: Any) -> Any:
        """A plain layer's call when something about it has changed since the pass began."""
        forward = type(layer.module).forward.__get__(layer.module)
        return self._run_layer(layer, forward, *args, **kwargs)

    def observing(self, watcher: Watcher) -> AbstractContextManager[None]:
        """Within the block ``watcher`` sees the layers compute."""
        return self.applying(_Observed(watcher))

    def changed(self, pruning: Pruning) -> list[str]:
        """Names of the layers and transformer blocks that compute something else in a pass with ``pruning``."""
        layers = [layer.name for layer in self.layers if pruning.wants(layer)]
        return layers + [name for name in self._blocks if pruning.residual(name) != 1.0]

    def _patch_blocks(self, pruning: Pruning) -> None:
        """Blocks are patched only for criteria that need it."""
        for name, block in self._blocks.items():
            if name not in self._patched_blocks and pruning.residual(name) != 1.0:
                self._installed.append(Patch(block, "forward", partial(self._run_block, name)))
                self._patched_blocks.add(name)

    def _run_layer(self, layer: Layer, forward: Original, *args: Any, **kwargs: Any) -> Any:
        """A layer's forward in the pass that is under way."""
        pruning = self._pruning
        if pruning is None:
            return forward(*args, **kwargs)
        self.used += 1
        if not pruning.wants(layer):
            return forward(*args, **kwargs)
        changed = self._changed(layer, pruning)
        if not self._half and layer.name not in self._watched:
            return self._run_watched(layer, forward, changed, args, kwargs)
        return self._on_half(partial(changed, forward), forward, args, kwargs)

    def _changed(self, layer: Layer, pruning: Pruning) -> Callable[..., Any]:
        """Takes the layer's forward and a call's arguments, and computes what ``pruning`` makes of it."""
        factor = pruning.factor(layer)
        if factor is not None:
            return partial(_scaled, factor)

        def changed(forward: Original, *args: Any, **kwargs: Any) -> torch.Tensor:
            return self._run(layer, forward, pruning.weight, args, kwargs)

        return changed

    def _run_watched(
        self,
        layer: Layer,
        forward: Original,
        changed: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """A layer's first call, which shows whether it is plain."""
        self._watched.add(layer.name)
        watch = PlainWatch(layer, forward)
        result = changed(watch.watched, *args, **kwargs)
        if watch.plain(result):
            self._found.append(layer)
        return result

    def _run_block(self, name: str, forward: Original, *args: Any, **kwargs: Any) -> Any:
        """A transformer block's forward in the pass that is under way; its first argument is its input."""
        residual = 1.0 if self._pruning is None else self._pruning.residual(name)
        if residual == 1.0:
            return forward(*args, **kwargs)
        if not args:
            raise UnsupportedModelError(
                "CR-Diff cannot skip this model's transformer blocks: their input is not found."
            )
        if residual == 0.0:
            self.used += 1
        return self._on_half(partial(_weakened, forward, residual), forward, args, kwargs)

    def _on_half(self, changed: Original, forward: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not self._half:
            return changed(*args, **kwargs)
        rows = len(args[0]) // 2
        first, second = (_rows((args, kwargs), 2 * rows, part) for part in (slice(rows), slice(rows, None)))
        return torch.cat([changed(*first[0], **first[1]), forward(*second[0], **second[1])])


class _Observed(Pruning):
    """A pass that changes nothing, in which a watcher looks on."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def wants(self, layer: Layer) -> bool:
        return self._watcher.wants(layer)

    def weight(self, call: LinearCall) -> torch.Tensor:
        self._watcher.see(call.part())
        return call.weight

    def ready(self, call: LinearCall) -> None:
        """A watcher sees every call, with its input."""


def _scaled(factor: float, forward: Original, x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
    """A layer with its weight times ``factor``, by its input: what the host adds to the weight is scaled with it."""
    return forward(x * factor, *args, **kwargs)


def _weakened(forward: Original, residual: float, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """A block of which only a part of what it adds to its input is added."""
    if residual == 0.0:
        return x
    result: torch.Tensor = x + residual * (forward(x, *args, **kwargs) - x)
    return result


def _rows(value: Any, rows: int, part: slice) -> Any:
    """``value`` with only a part of the rows of every tensor of ``rows`` rows."""
    if isinstance(value, torch.Tensor):
        return value[part] if value.ndim > 0 and len(value) == rows else value
    if isinstance(value, dict):
        return {key: _rows(one, rows, part) for key, one in value.items()}
    if type(value) in (tuple, list):
        return type(value)(_rows(one, rows, part) for one in value)
    return value
