"""Counts multiplications and additions while they are computed, by the calls that reach torch's dispatcher."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


def _product(args: Sequence[Any], result: torch.Tensor) -> int:
    """``mm`` and ``bmm``: (..., n, k) by (..., k, m)."""
    return 2 * result.numel() * int(args[0].shape[-1])


def _sum_and_product(args: Sequence[Any], result: torch.Tensor) -> int:
    """``addmm`` and ``baddbmm``, whose first argument is what the product is added to."""
    return _product(args[1:], result)


def _convolution(args: Sequence[Any], result: torch.Tensor) -> int:
    return 2 * result.numel() * int(args[1][0].numel())


def _attention(args: Sequence[Any], _: Any) -> int:
    """Queries by keys, and weights by values: (batch, heads, tokens, width) each."""
    batch, heads, tokens, width = args[0].shape
    return int(4 * batch * heads * tokens * args[1].shape[2] * width)


_COUNTS: dict[str, Callable[[Sequence[Any], Any], int]] = {
    "mm": _product,
    "bmm": _product,
    "addmm": _sum_and_product,
    "baddbmm": _sum_and_product,
    "convolution": _convolution,
}


class OperationCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within its block, ``total`` grows by 2 for each multiplication and addition of a matmul, convolution or
    attention, on any device. Everything else a model computes is negligible beside them.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = str(func.overloadpacket.__name__)
        count = _attention if name.startswith("_scaled_dot_product") else _COUNTS.get(name)
        if count is not None:
            self.total += count(args, result)
        return result
