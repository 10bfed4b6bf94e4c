"""The layers of this host: they know where their weights are and bring them along for a forward."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch

from backend import memory_management, stream
from backend.patcher.lora import merge_lora_to_weight

stash: dict[int, Any] = {}
current_device: Any = None
current_dtype: Any = None
current_manual_cast_enabled = False
current_bnb_dtype: Any = None


def _effective(value: Any, move: dict | None, fn: Callable | None, scale: Any, patches: Any, name: str) -> Any:
    """In this order: the caller's function on its device, the move, the scale, LoRA on the fly."""
    if value is None:
        return None
    if fn is not None:
        if move is not None and move.get("device") is not None:
            value = value.to(device=move["device"])
        value = fn(value)
    if move is not None:
        value = value.to(**move)
    if scale is not None:
        value = value * scale.to(device=value.device, dtype=value.dtype)
    if patches is not None:
        value = merge_lora_to_weight(patches, value, key=f"online {name} lora", computation_dtype=value.dtype)
    return value


def get_weight_and_bias(layer: Any, weight_args: dict | None = None, bias_args: dict | None = None,
                        weight_fn: Callable | None = None, bias_fn: Callable | None = None) -> tuple[Any, Any]:
    online = getattr(layer, "forge_online_loras", None) or {}
    scale = getattr(layer, "scale_weight", None)
    weight = _effective(layer.weight, weight_args, weight_fn, scale, online.get("weight"), "weight")
    bias = _effective(layer.bias, bias_args, bias_fn, None, online.get("bias"), "bias")
    return weight, bias


def weights_manual_cast(layer: Any, x: torch.Tensor, skip_weight_dtype: bool = False, skip_bias_dtype: bool = False,
                        weight_fn: Callable | None = None, bias_fn: Callable | None = None) -> tuple[Any, Any, Any]:
    """Weight and bias on the device and in the number type of ``x``, and the event that they are there."""
    move = {"device": x.device, "non_blocking": True}
    weight_args = move if skip_weight_dtype else {**move, "dtype": x.dtype}
    bias_args = move if skip_bias_dtype else {**move, "dtype": x.dtype}
    weight, bias = get_weight_and_bias(layer, weight_args, bias_args, weight_fn=weight_fn, bias_fn=bias_fn)
    return weight, bias, None


@contextlib.contextmanager
def main_stream_worker(weight: Any, bias: Any, signal: Any) -> Iterator[None]:
    """Waits for the weights; without streams they are there."""
    assert signal is None or stream.should_use_stream()
    yield


def cleanup_cache() -> None:
    stash.clear()


def _weights_for(layer: Any, x: torch.Tensor) -> tuple[Any, Any, Any]:
    if layer.parameters_manual_cast:
        return weights_manual_cast(layer, x)
    weight, bias = get_weight_and_bias(layer)
    return weight, bias, None


class ForgeOperations:
    class Linear(torch.nn.Module):
        """Not a ``torch.nn.Linear``. It has no weight until one is loaded."""

        def __init__(self, in_features: int, out_features: int, *args: Any, **kwargs: Any) -> None:
            super().__init__()
            self.in_features = in_features
            self.out_features = out_features
            self.dummy = torch.nn.Parameter(torch.empty(1, device=current_device, dtype=current_dtype))
            self.weight = None
            self.scale_weight = None
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
            weight, bias, signal = _weights_for(self, x)
            with main_stream_worker(weight, bias, signal):
                return torch.nn.functional.linear(x, weight, bias)

    class Conv2d(torch.nn.Conv2d):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "device": current_device, "dtype": current_dtype})
            self.parameters_manual_cast = current_manual_cast_enabled

        def reset_parameters(self) -> None:
            return None

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            weight, bias, signal = _weights_for(self, x)
            with main_stream_worker(weight, bias, signal):
                return self._conv_forward(x, weight, bias)

    class GroupNorm(torch.nn.GroupNorm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "device": current_device, "dtype": current_dtype})
            self.parameters_manual_cast = current_manual_cast_enabled

        def reset_parameters(self) -> None:
            return None

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            weight, bias, signal = _weights_for(self, x)
            with main_stream_worker(weight, bias, signal):
                return torch.nn.functional.group_norm(x, self.num_groups, weight, bias, self.eps)

    class LayerNorm(torch.nn.LayerNorm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "device": current_device, "dtype": current_dtype})
            self.parameters_manual_cast = current_manual_cast_enabled

        def reset_parameters(self) -> None:
            return None

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            weight, bias, signal = _weights_for(self, x)
            with main_stream_worker(weight, bias, signal):
                return torch.nn.functional.layer_norm(x, self.normalized_shape, weight, bias, self.eps)


@contextlib.contextmanager
def using_forge_operations(operations: Any = None, device: Any = None, dtype: Any = None,
                           manual_cast_enabled: bool = False, bnb_dtype: Any = None) -> Iterator[None]:
    """Has the layers that are made meanwhile be this host's, in ``torch.nn``'s place, with their weights so kept."""
    global current_device, current_dtype, current_manual_cast_enabled, current_bnb_dtype
    before = current_device, current_dtype, current_manual_cast_enabled, current_bnb_dtype
    current_device, current_dtype = device or memory_management.cpu, dtype
    current_manual_cast_enabled, current_bnb_dtype = manual_cast_enabled, bnb_dtype
    plain = {name: getattr(torch.nn, name) for name in ("Linear", "Conv2d", "GroupNorm", "LayerNorm")}
    for name in plain:
        setattr(torch.nn, name, getattr(operations or ForgeOperations, name))
    try:
        yield
    finally:
        for name, kind in plain.items():
            setattr(torch.nn, name, kind)
        current_device, current_dtype, current_manual_cast_enabled, current_bnb_dtype = before


def shift_manual_cast(model: torch.nn.Module, enabled: bool) -> None:
    for module in model.modules():
        if hasattr(module, "parameters_manual_cast"):
            module.parameters_manual_cast = enabled
