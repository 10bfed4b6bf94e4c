"""The autoencoder and its patcher."""

from __future__ import annotations

from typing import Any

import torch

from backend.patcher.base import ModelPatcher


class VAE:
    latent_channels = 4
    downscale_ratio = 8

    def __init__(self, model: Any = None, device: Any = None, no_init: bool = False) -> None:
        if no_init:
            return
        self.first_stage_model = model
        self.patcher = ModelPatcher(model, load_device=device, offload_device=device)

    def clone(self) -> VAE:
        other = VAE(no_init=True)
        other.patcher = self.patcher.clone()
        other.first_stage_model = self.first_stage_model
        return other

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.first_stage_model.encode(pixels)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return self.first_stage_model.decode(latents)
