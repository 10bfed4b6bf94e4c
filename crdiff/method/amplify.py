"""Pruned output amplification (paper 3.4)."""

from __future__ import annotations

import torch


def amplify(pruned: torch.Tensor, dense: torch.Tensor, k: float) -> torch.Tensor:
    """``k * pruned + (1 - k) * dense`` (paper eq. 2), computed in float32 and returned in ``dense``'s dtype.

    Both are raw predictions (eps or v) or anything affine in them, of one shape. k > 1 steers past the pruned model,
    k < 0 away from it.
    """
    return (k * pruned.float() + (1.0 - k) * dense.float()).to(dense.dtype)
