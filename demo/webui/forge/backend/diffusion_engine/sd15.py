"""The engine of SD1 and SD2."""

from __future__ import annotations

from typing import Any

import torch

from backend.diffusion_engine.base import ForgeDiffusionEngine


class StableDiffusion(ForgeDiffusionEngine):
    def __init__(self, model_config: Any, unet: Any, clip: Any, vae: Any) -> None:
        super().__init__(model_config, unet, clip, vae)
        self.is_sd1 = model_config.family == "sd1"
        self.is_sd2 = model_config.family == "sd2"

    @torch.inference_mode()
    def get_learned_conditioning(self, prompt: list[str]) -> torch.Tensor:
        return self._encode_text(prompt)
