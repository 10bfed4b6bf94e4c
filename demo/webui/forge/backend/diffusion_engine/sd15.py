"""The engine of SD1 and SD2."""

from __future__ import annotations


import torch

from backend.diffusion_engine.base import ForgeDiffusionEngine


class StableDiffusion(ForgeDiffusionEngine):
    @torch.inference_mode()
    def get_learned_conditioning(self, prompt: list[str]) -> torch.Tensor:
        return self._encode_text(prompt)
