"""The engine of SDXL."""

from __future__ import annotations

from typing import Any

import torch

from backend.diffusion_engine.base import ForgeDiffusionEngine
from common.nn.text import pooled
from common.nn.unet import timestep_embedding

SIZE_WIDTH = 256


class StableDiffusionXL(ForgeDiffusionEngine):
    def __init__(self, model_config: Any, unet: Any, clip: Any, vae: Any) -> None:
        super().__init__(model_config, unet, clip, vae)
        self.is_sdxl = True

    @torch.inference_mode()
    def get_learned_conditioning(self, prompt: Any) -> dict[str, torch.Tensor]:
        from modules.shared import opts

        crossattn = self._encode_text(prompt)
        width = getattr(prompt, "width", None) or 1024
        height = getattr(prompt, "height", None) or 1024
        numbers = [height, width, opts.sdxl_crop_top, opts.sdxl_crop_left, height, width]
        sizes = timestep_embedding(torch.tensor(numbers, device=crossattn.device), SIZE_WIDTH).flatten()
        text_width = self.model_config.unet.adm_in_channels - sizes.numel()
        vector = torch.cat([pooled(crossattn, text_width), sizes.repeat(len(prompt), 1)], dim=1)
        return {"crossattn": crossattn, "vector": vector}
