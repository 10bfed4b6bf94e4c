"""Between the SDXL engine and its UNet."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class IdentityWrapper(nn.Module):
    def __init__(self, diffusion_model: nn.Module, compile_model: bool = False) -> None:
        super().__init__()
        self.diffusion_model = diffusion_model

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        return self.diffusion_model(*args, **kwargs)


class OpenAIWrapper(IdentityWrapper):
    def forward(self, x: torch.Tensor, t: torch.Tensor, c: dict, **kwargs: Any) -> torch.Tensor:
        if "concat" in c:
            x = torch.cat((x, c["concat"]), dim=1)
        return self.diffusion_model(x, timesteps=t, context=c.get("crossattn"), y=c.get("vector"), **kwargs)
