"""The device, the number types, and the autocast contexts."""

from __future__ import annotations

import contextlib
from typing import Any

import torch

from common import config as _config

cpu = torch.device("cpu")
device = torch.device(_config.current().device)
fp8 = False
force_fp16 = _config.current().half
dtype = torch.float16 if force_fp16 else torch.float32
dtype_vae = dtype_unet = dtype


def torch_gc() -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()


def autocast() -> Any:
    """The CPU cannot multiply float8; autocast casts the operands of every product, there to bfloat16."""
    return torch.autocast(device.type) if fp8 and not force_fp16 else contextlib.nullcontext()


class NansException(Exception):
    pass


def test_for_nans(x: torch.Tensor, where: str) -> None:
    """Looks at one element, as the host does since 1.10."""
    if not torch.isnan(x[(0,) * len(x.shape)]):
        return
    name = {"unet": "Unet", "vae": "VAE"}.get(where, where)
    raise NansException(f"A tensor with NaNs was produced in {name}.")
