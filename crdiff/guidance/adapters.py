"""LoRAs that PEFT adds beside a layer, as diffusers loads them: pruned as if they were merged into its weight.

Nothing of PEFT is imported: what is asked of a layer is what its ``LoraLayer`` has had since version 0.6.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from crdiff.errors import UnsupportedModelError
from crdiff.guidance.access import PlainAccess, WeightsIdentity
from crdiff.models.architecture import Layer, find_layers
from crdiff.patching import Original
from crdiff.pruning.criterion import LinearCall
from crdiff.pruning.linear import ChangeWeight, run_with_weight
from crdiff.pruning.plain import version
from crdiff.pruning.store import fingerprint


def run_adapted(
    layer: Layer, forward: Original, change: ChangeWeight, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> torch.Tensor:
    """See LayerRun. As if the LoRA were merged: the weight that ``change`` gets is rounded as PEFT rounds it then."""
    module: Any = layer.module
    adapters = acting(module) if is_adapted(module) else ()
    if not adapters:
        return run_with_weight(layer, forward, change, args, kwargs)

    def merged(call: LinearCall) -> torch.Tensor:
        weight = call.weight
        for adapter in adapters:
            weight = (weight + module.get_delta_weight(adapter)).to(weight.dtype)
        return change(replace(call, weight=weight))

    return run_with_weight(layer, module.base_layer, merged, args, kwargs)


class AdaptedAccess(PlainAccess):
    """A model to whose layers PEFT may have added LoRAs; made anew for each run.

    What the weights are with their LoRAs is named by the adapters, their scales and a fingerprint, so that nothing
    gathered of them passes for the checkpoint's own.

    Args:
        unet: the model.
        name: see PlainAccess, as is ``sha256``.

    Attributes:
        scale: by which the model multiplies the scales of its adapters within its forward.

    Raises:
        UnsupportedModelError: adapters on layers that may be pruned add to them in another way.
    """

    run_layer = staticmethod(run_adapted)

    def __init__(self, unet: torch.nn.Module, name: str = "model", sha256: str | None = None) -> None:
        super().__init__(name, sha256)
        self._unet = unet
        self.scale = 1.0
        self._seen: list[torch.Tensor | str] = []
        self._versions: list[int] = []
        self._print = ""
        self._find()

    def identity(self) -> WeightsIdentity:
        """See ModelAccess. Reads values only when an adapter, a scale, a weight or its version has changed."""
        if self._names() != self._loaded:
            self._find()
        if not self._layers:
            return self._identity
        seen = [part for module in self._layers for part in _parts(module)]
        versions = [version(part) if isinstance(part, torch.Tensor) else -1 for part in seen]
        if versions != self._versions or not all(map(_same, seen, self._seen)):
            self._seen, self._versions, self._print = seen, versions, fingerprint(seen)
        return replace(self._identity, modifiers=(*self._loaded, f"scale {self.scale:.9g}", self._print))

    def stored_weight(self, module: torch.nn.Module) -> torch.Tensor:
        return super().stored_weight(_base(module) if is_adapted(module) else module)

    def _find(self) -> None:
        self._loaded = self._names()
        self._layers = _adapted_layers(self._unet)
        for module in self._layers:
            acting(module)

    def _names(self) -> tuple[str, ...]:
        return tuple(getattr(self._unet, "peft_config", ()))


def is_adapted(module: torch.nn.Module) -> bool:
    """Whether PEFT has wrapped a layer."""
    return hasattr(module, "base_layer")


def acting(module: Any) -> tuple[str, ...]:
    """The adapters that a layer wrapped by PEFT adds to its product; none where they are off or merged.

    Raises:
        UnsupportedModelError: what they add is not that of a plain LoRA, or the layer is about to change its weight.
    """
    if is_adapted(module.base_layer) or not (hasattr(module, "lora_A") and hasattr(module, "get_delta_weight")):
        raise _unsupported("its adapters are not LoRAs; merge them into the weights first")
    if module.merged and module.disable_adapters:
        raise _unsupported("its merged LoRA is switched off; call unfuse_lora() first")
    if module.merged or module.disable_adapters:
        return ()
    adapters = tuple(name for name in module.active_adapters if name in module.lora_A)
    others = [getattr(module, name, {}) for name in ("lora_variant", "use_dora", "lora_bias")]
    for name in adapters:
        factors = (module.lora_A[name], module.lora_B[name])
        if any(other.get(name) for other in others) or not all(isinstance(one, torch.nn.Linear) for one in factors):
            raise _unsupported(f"the adapter {name} is DoRA or another variant of LoRA; call fuse_lora() first")
    return adapters


def _unsupported(reason: str) -> UnsupportedModelError:
    return UnsupportedModelError(f"CR-Diff cannot prune this UNet: {reason}.")


def _adapted_layers(unet: torch.nn.Module) -> list[Any]:
    """The layers that may be pruned and that PEFT has wrapped."""
    if not any(map(is_adapted, unet.modules())):
        return []
    return [layer.module for layer in find_layers(unet).prunable if is_adapted(layer.module)]


def _base(module: Any) -> torch.nn.Module:
    base: torch.nn.Module = module.base_layer
    return base


def _parts(module: Any) -> Iterator[torch.Tensor | str]:
    """What the weight of a wrapped layer is made of."""
    yield module.base_layer.weight
    for name in acting(module):
        # A scale that was multiplied and divided again may have lost its last bit.
        yield f"{name} {module.scaling[name]:.9g}"
        yield module.lora_A[name].weight
        yield module.lora_B[name].weight


def _same(one: torch.Tensor | str, other: torch.Tensor | str) -> bool:
    return one is other if isinstance(one, torch.Tensor) else one == other
