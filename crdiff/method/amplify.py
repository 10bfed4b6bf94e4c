"""Pruned output amplification (paper 3.4, eq. 2): on the two predictions, and on weights and factors."""

from __future__ import annotations

import torch


def amplify(pruned: torch.Tensor, dense: torch.Tensor, k: float | torch.Tensor) -> torch.Tensor:
    """``k * pruned + (1 - k) * dense`` (paper eq. 2), computed in float32 and returned in ``dense``'s dtype.

    Both are raw predictions (eps or v) or anything affine in them, of one shape. k > 1 steers past the pruned model,
    k < 0 away from it; as a float64 tensor without dimensions it gives the same to the bit.
    """
    return (k * pruned.float() + (1.0 - k) * dense.float()).to(dense.dtype)


def amplify_weight(
    dense: torch.Tensor, pruned: torch.Tensor, k: float, out: torch.Tensor | None = None
) -> torch.Tensor:
    """``k * pruned + (1 - k) * dense``, exactly ``dense`` where the two are equal.

    Args:
        dense: the dense weight, of any shape and a floating dtype.
        pruned: the pruned one, of the same shape; may be of a wider dtype, which is then the result's.
        k: amplification.
        out: where the result may be put, like ``pruned``; neither weight is written to.
    """
    # Written from the pruned end, so that kept weights come out to the last bit.
    difference = torch.sub(dense.to(pruned.dtype), pruned, out=out)
    return torch.add(pruned, difference, alpha=1.0 - k, out=out)


def amplify_factor(factor: float, k: float) -> float:
    """The same for a pruned pass that multiplies by ``factor`` where the dense one multiplies by 1."""
    return k * factor + (1.0 - k)
