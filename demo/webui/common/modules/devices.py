"""The device, the number types, and the autocast contexts."""

from __future__ import annotations

import contextlib
from typing import Any

import torch

from common import config as _config
from modules.shared_cmd_options import cmd_opts

cpu = torch.device("cpu")
device = torch.device(_config.current().device)
device_interrogate = device_gfpgan = device_esrgan = device_codeformer = device
fp8 = False
force_fp16 = _config.current().half
dtype = torch.float16 if force_fp16 else torch.float32
dtype_vae = dtype_unet = dtype_inference = dtype
unet_needs_upcast = False


def has_mps() -> bool:
    return False


def has_xpu() -> bool:
    return False


def get_optimal_device() -> torch.device:
    return device


def get_optimal_device_name() -> str:
    return str(device)


def get_device_for(task: str) -> torch.device:
    return device


def torch_gc() -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()


def cond_cast_unet(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(dtype_unet) if unet_needs_upcast else tensor


def cond_cast_float(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if unet_needs_upcast else tensor


def _forward_in(target: torch.dtype, original: Any) -> Any:
    def forward(self: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        stored = [p.dtype for p in self.parameters() if p.dtype != target]
        if stored:
            self.to(target)
        try:
            cast = [x.to(target) if isinstance(x, torch.Tensor) and x.is_floating_point() else x for x in args]
            return original(self, *cast, **kwargs)
        finally:
            if stored:
                self.to(stored[0])

    return forward


@contextlib.contextmanager
def manual_cast(target_dtype: torch.dtype):
    """Swaps the class forwards of the weighted layers for ones that cast the weights for the call."""
    kinds = (torch.nn.Linear, torch.nn.Conv2d, torch.nn.GroupNorm, torch.nn.LayerNorm)
    swapped = [kind for kind in kinds if not hasattr(kind, "org_forward")]
    for kind in swapped:
        kind.org_forward = kind.forward
        kind.forward = _forward_in(target_dtype, kind.org_forward)
    try:
        yield None
    finally:
        for kind in swapped:
            kind.forward = kind.org_forward
            del kind.org_forward


def autocast(disable: bool = False) -> Any:
    if disable or force_fp16:
        return contextlib.nullcontext()
    if fp8:
        # The CPU cannot multiply float8; autocast casts the operands of every product to bfloat16.
        if device.type == "cpu":
            return torch.autocast("cpu", dtype=torch.bfloat16, enabled=True)
        return torch.autocast(device.type)
    return contextlib.nullcontext()


def without_autocast(disable: bool = False) -> Any:
    if torch.is_autocast_enabled() and not disable:
        return torch.autocast("cuda", enabled=False)
    return contextlib.nullcontext()


class NansException(Exception):
    pass


def test_for_nans(x: torch.Tensor, where: str) -> None:
    """Looks at one element, as the host does since 1.10."""
    if cmd_opts.disable_nan_check or not torch.isnan(x[(0,) * len(x.shape)]):
        return
    name = {"unet": "Unet", "vae": "VAE"}.get(where, where)
    raise NansException(f"A tensor with NaNs was produced in {name}.")
