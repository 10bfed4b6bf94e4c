"""The pruning kernels: weights up to a threshold become zero, or all are shrunk towards zero by it."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, lru_cache, partial

import torch
from torch.nn import functional


@cache
def _has_hardshrink(device_type: str, dtype: torch.dtype) -> bool:
    """Whether this backend has the one-kernel form for this dtype."""
    try:
        functional.hardshrink(torch.zeros(1, device=device_type, dtype=dtype), 0.5)
    except (RuntimeError, NotImplementedError):
        return False
    return True


@lru_cache(maxsize=64)
def _rounded_down(threshold: float, dtype: torch.dtype) -> float:
    """The largest value of ``dtype`` that does not exceed ``threshold``, at which the comparison comes out the same."""
    rounded = torch.tensor(threshold, dtype=torch.float64, device="cpu").to(dtype)
    if rounded.item() > threshold:
        # The bit pattern before a positive float's is that of the next smaller one.
        rounded = (rounded.view(torch.int16) - 1).view(dtype)
    return float(rounded)


class Scratch:
    """A buffer for the pruned weight of the moment, as large as the largest layer; the next use overwrites it."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[torch.device, torch.dtype], torch.Tensor] = {}

    def like(self, weight: torch.Tensor) -> torch.Tensor:
        """An uninitialised contiguous tensor of the shape, dtype and device of ``weight``."""
        key = (weight.device, weight.dtype)
        buffer = self._buffers.get(key)
        if buffer is None or buffer.numel() < weight.numel():
            self._buffers.pop(key, None)
            # A buffer made in inference mode could not be written to outside of it.
            with torch.inference_mode(False):
                buffer = torch.empty(weight.numel(), dtype=weight.dtype, device=weight.device)
            self._buffers[key] = buffer
        return buffer[: weight.numel()].view(weight.shape)


def zero_up_to(weight: torch.Tensor, threshold: float, scratch: Scratch | None = None) -> torch.Tensor:
    """``weight`` with every |w| <= threshold set to zero; NaN weights stay NaN. The weight itself is not changed.

    Args:
        weight: any shape; fp8 comes back as fp16, which holds every fp8 value and can be computed with.
        threshold: a magnitude, exact in float32. NaN, which sorts above everything, prunes all.
        scratch: where the result may be put, valid until its next use; None makes a new tensor.
    """
    if weight.element_size() == 1:
        weight = weight.to(torch.float16)
    if math.isnan(threshold):
        return weight.masked_fill(~weight.isnan(), 0.0)
    # Layers of a group can have several dtypes, and the threshold need not be a value of this one.
    threshold = _rounded_down(threshold, weight.dtype)
    if not _has_hardshrink(weight.device.type, weight.dtype):
        return weight.masked_fill(weight.abs() <= threshold, 0.0)
    # hardshrink keeps x < -t and x > t: exactly the strict comparison of the method, in one kernel.
    if scratch is None or not weight.is_contiguous() or (torch.is_grad_enabled() and weight.requires_grad):
        return functional.hardshrink(weight, threshold)
    return torch.hardshrink(weight, threshold, out=scratch.like(weight))


def shrink_by(weight: torch.Tensor, threshold: float, scratch: Scratch | None = None) -> torch.Tensor:
    """``sign(w) * max(|w| - threshold, 0)``; the arguments are those of ``zero_up_to``, and so are the zeros."""
    if weight.element_size() == 1:
        weight = weight.to(torch.float16)
    if math.isnan(threshold):
        return zero_up_to(weight, threshold)
    threshold = _rounded_down(threshold, weight.dtype)
    if scratch is None or (torch.is_grad_enabled() and weight.requires_grad):
        return weight - weight.clamp(-threshold, threshold)
    out = scratch.like(weight)
    return torch.sub(weight, torch.clamp(weight, -threshold, threshold, out=out), out=out)


def zeroing(weight: torch.Tensor, threshold: float, scratch: Scratch) -> Callable[[], torch.Tensor]:
    """Gives ``zero_up_to(weight, threshold, scratch)`` again and again, with all decided beforehand."""
    if not _in_one_kernel(weight, threshold):
        return partial(zero_up_to, weight, threshold, scratch)
    return partial(torch.hardshrink, weight, _rounded_down(threshold, weight.dtype), out=scratch.like(weight))


def zero_into(out: torch.Tensor, weight: torch.Tensor, threshold: float) -> None:
    """Put ``zero_up_to(weight, threshold)`` into ``out``, which is like it."""
    if _in_one_kernel(weight, threshold):
        torch.hardshrink(weight, _rounded_down(threshold, weight.dtype), out=out)
    else:
        out.copy_(zero_up_to(weight, threshold))


def _in_one_kernel(weight: torch.Tensor, threshold: float) -> bool:
    """Whether one kernel can put the result where it belongs."""
    if weight.element_size() == 1 or math.isnan(threshold) or not _has_hardshrink(weight.device.type, weight.dtype):
        return False
    return weight.is_contiguous() and not (torch.is_grad_enabled() and weight.requires_grad)
