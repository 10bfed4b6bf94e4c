"""The layers of this host: a forward casts the weights to its input's type, and merges LoRA into them on the fly."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from backend.patcher.lora import merge_lora_to_weight

current_device: Any = None
current_dtype: Any = None
current_manual_cast_enabled = False


def _weight_and_bias(layer: Any, x: torch.Tensor) -> list[Any]:
    """Cast if the layer asks for it, then changed by the LoRA that is applied at every forward."""
    online = getattr(layer, "forge_online_loras", None) or {}
    found = []
    for name in ("weight", "bias"):
        value = getattr(layer, name)
        if value is not None and layer.parameters_manual_cast:
            value = value.to(device=x.device, dtype=x.dtype)
        if value is not None and name in online:
            value = merge_lora_to_weight(online[name], value, computation_dtype=value.dtype)
        found.append(value)
    return found


class _Kept:
    """Made where and as ``using_forge_operations`` says, and not initialised: a checkpoint fills it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "device": current_device, "dtype": current_dtype})
        self.parameters_manual_cast = current_manual_cast_enabled

    def reset_parameters(self) -> None:
        return None


class ForgeOperations:
    class Linear(torch.nn.Module):
        """Not a ``torch.nn.Linear``. It has no weight until one is loaded."""

        def __init__(self, in_features: int, out_features: int, *args: Any, **kwargs: Any) -> None:
            super().__init__()
            self.in_features = in_features
            self.out_features = out_features
            self.dummy = torch.nn.Parameter(torch.empty(1, device=current_device, dtype=current_dtype))
            self.weight = None
            self.bias = None
            self.parameters_manual_cast = current_manual_cast_enabled

        def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
            if not hasattr(self, "dummy"):
                super()._load_from_state_dict(state_dict, prefix, *args)
                return
            for name in ("weight", "bias"):
                if prefix + name in state_dict:
                    value = state_dict[prefix + name].to(self.dummy)
                    setattr(self, name, torch.nn.Parameter(value, requires_grad=False))
            del self.dummy

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.linear(x, *_weight_and_bias(self, x))

    class Conv2d(_Kept, torch.nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self._conv_forward(x, *_weight_and_bias(self, x))

    class GroupNorm(_Kept, torch.nn.GroupNorm):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.group_norm(x, self.num_groups, *_weight_and_bias(self, x), self.eps)

    class LayerNorm(_Kept, torch.nn.LayerNorm):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.layer_norm(x, self.normalized_shape, *_weight_and_bias(self, x), self.eps)


@contextlib.contextmanager
def using_forge_operations(device: Any, dtype: Any, manual_cast_enabled: bool) -> Iterator[None]:
    """Puts this host's layers in ``torch.nn``'s place, so that a UNet made meanwhile is made of them."""
    global current_device, current_dtype, current_manual_cast_enabled
    current_device, current_dtype, current_manual_cast_enabled = device, dtype, manual_cast_enabled
    plain = {name: getattr(torch.nn, name) for name in ("Linear", "Conv2d", "GroupNorm", "LayerNorm")}
    for name in plain:
        setattr(torch.nn, name, getattr(ForgeOperations, name))
    try:
        yield
    finally:
        for name, kind in plain.items():
            setattr(torch.nn, name, kind)
