"""Hessians of layers, twice the mean of x x^T over their inputs x, from which Optimal Brain Surgeon goes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

DAMPING = 0.01
"""Of the mean of a Hessian's diagonal, added to it before it is inverted (OBS-Diff, SparseGPT)."""

Matrix = npt.NDArray[np.float32]


class Matrices(Protocol):
    """A matrix for each layer, such as whole Hessians, which are read one at a time: together they take gigabytes."""

    @property
    def keys(self) -> Mapping[str, str]:
        """By a layer's name the key of its matrix; layers that see one input have one key of a Hessian."""

    def get(self, key: str) -> Matrix | None:
        """Of a Hessian (in, in), not damped, of a gradient (out, in); None if it can no longer be read."""


def damped(hessian: torch.Tensor) -> torch.Tensor:
    """A Hessian, (in, in), ready to be inverted: inputs that never moved get 1, then damping is added."""
    found = hessian.clone()
    diagonal = found.diagonal()
    diagonal[diagonal == 0.0] = 1.0
    diagonal += DAMPING * diagonal.mean()
    return found


def inverse(hessian: torch.Tensor) -> torch.Tensor | None:
    """The inverse of a damped Hessian; None if it has none that is of use."""
    factor, failed = torch.linalg.cholesky_ex(hessian)
    if bool(failed):
        return None
    found = torch.cholesky_inverse(factor)
    return found if bool((found.diagonal() > 0.0).all()) else None


@contextmanager
def exact_products(device: torch.device) -> Iterator[None]:
    """Within the block products are float32's: neither of TF32, whose ten bits spoil an inverse, nor of autocast."""
    allowed = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = allowed
