"""What the engines of all models have in common."""

from __future__ import annotations

from typing import Any

import torch

from backend import memory_management


class ForgeObjects:
    def __init__(self, unet: Any, clip: Any, vae: Any, clipvision: Any = None) -> None:
        self.unet = unet
        self.clip = clip
        self.vae = vae
        self.clipvision = clipvision

    def shallow_copy(self) -> ForgeObjects:
        return ForgeObjects(self.unet, self.clip, self.vae, self.clipvision)


class ForgeDiffusionEngine:
    """Three sets of patchers: the original, with LoRA, and the one in use, which every pass starts anew."""

    def __init__(self, model_config: Any, unet: Any, clip: Any, vae: Any) -> None:
        self.model_config = model_config
        self.is_inpaint = model_config.is_inpaint
        self.forge_objects = ForgeObjects(unet, clip, vae)
        self.forge_objects_original = self.forge_objects.shallow_copy()
        self.forge_objects_after_applying_lora = self.forge_objects.shallow_copy()
        self.current_lora_hash = str([])
        self.first_stage_model = None
        self.cond_stage_model = None
        self.is_sdxl = False
        self.alphas_cumprod = unet.model.predictor.alphas_cumprod

    def get_first_stage_encoding(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def get_learned_conditioning(self, prompt: list[str]) -> Any:
        raise NotImplementedError

    def _encode_text(self, prompt: list[str]) -> torch.Tensor:
        memory_management.load_model_gpu(self.forge_objects.clip.patcher)
        return self.forge_objects.clip.cond_stage_model(list(prompt)).float()

    @torch.inference_mode()
    def encode_first_stage(self, x: torch.Tensor) -> torch.Tensor:
        return self.forge_objects.vae.encode(x).to(x)

    @torch.inference_mode()
    def decode_first_stage(self, x: torch.Tensor) -> torch.Tensor:
        return self.forge_objects.vae.decode(x).to(x)
