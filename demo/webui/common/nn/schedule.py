"""The noise schedule of the Stable Diffusion models."""

from __future__ import annotations

import torch
from torch import Tensor


def alphas_cumprod(timesteps: int = 1000, start: float = 0.00085, end: float = 0.012) -> Tensor:
    """Squares of a line between the roots of the first and the last beta, accumulated."""
    betas = torch.linspace(start**0.5, end**0.5, timesteps, dtype=torch.float64) ** 2
    return torch.cumprod(1.0 - betas, dim=0).float()
