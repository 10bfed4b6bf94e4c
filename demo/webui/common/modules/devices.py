"""The device, the number types, and the autocast contexts."""

from __future__ import annotations

import contextlib
from typing import Any

import torch

from common import config as _config
from modules.shared_cmd_options import cmd_opts

cpu = torch.device("cpu")
device = torch.device(_config.current().device)
fp8 = False
force_fp16 = _config.current().half
dtype = torch.float16 if force_fp16 else torch.float32
dtype_vae = dtype_unet = dtype
unet_needs_upcast = False


def torch_gc() -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()


def cond_cast_unet(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(dtype_unet) if unet_needs_upcast else tensor


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
