"""The instruction-editing models have their own wrapper class; no such checkpoint can be loaded here."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class DiffusionWrapper(nn.Module):
    def __init__(self, diffusion_model: nn.Module, conditioning_key: str = "hybrid") -> None:
        super().__init__()
        self.diffusion_model = diffusion_model
        self.conditioning_key = conditioning_key

    def forward(self, x: torch.Tensor, t: torch.Tensor, c_concat: Any = None, c_crossattn: Any = None) -> torch.Tensor:
        return self.diffusion_model(torch.cat([x, *c_concat], dim=1), t, context=torch.cat(c_crossattn, 1))
