"""The autoencoder and its patcher."""

from __future__ import annotations

from typing import Any

import torch

from backend.patcher.base import ModelPatcher


class VAE:

    def __init__(self, model: Any, device: Any) -> None:
        self.first_stage_model = model
        self.patcher = ModelPatcher(model, load_device=device, offload_device=device)

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.first_stage_model.encode(pixels)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return self.first_stage_model.decode(latents)
