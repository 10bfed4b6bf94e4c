"""The SDXL engine: text and size conditionings come as a dict."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from common.checkpoints import ModelConfig
from common.nn.text import TextEncoder, pooled
from common.nn.unet import timestep_embedding
from common.nn.vae import build_vae
from ldm.models.diffusion.ddpm import LatentDiffusion
from sgm.modules.diffusionmodules.openaimodel import UNetModel
from sgm.modules.diffusionmodules.wrappers import OpenAIWrapper

SIZE_WIDTH = 256


class GeneralConditioner(nn.Module):
    """``vector`` is the pooled prompt followed by embeddings of the sizes and the crop."""

    def __init__(self, text: TextEncoder, vector_width: int) -> None:
        super().__init__()
        self.embedders = nn.ModuleList([text])
        self.vector_width = vector_width

    def forward(self, texts: list[str], numbers: list[int]) -> dict[str, torch.Tensor]:
        crossattn = self.embedders[0](texts).float()
        sizes = timestep_embedding(torch.tensor(numbers, device=crossattn.device), SIZE_WIDTH).flatten()
        text_width = self.vector_width - sizes.numel()
        vector = torch.cat([pooled(crossattn, text_width), sizes.repeat(len(texts), 1)], dim=1)
        return {"crossattn": crossattn, "vector": vector}

    def process_texts(self, texts: list[str]) -> Any:
        return self.embedders[0].process_texts(texts)

    def get_target_prompt_token_count(self, token_count: int) -> int:
        return self.embedders[0].get_target_prompt_token_count(token_count)


class DiffusionEngine(LatentDiffusion):
    def __init__(self, config: ModelConfig) -> None:
        nn.Module.__init__(self)
        from common.nn.schedule import alphas_cumprod

        self.parameterization = config.prediction
        self.model = OpenAIWrapper(UNetModel(config.unet))
        self.model.conditioning_key = "crossattn"
        self.first_stage_model = build_vae(config.vae)
        self.conditioner = GeneralConditioner(TextEncoder(config.text), config.unet.adm_in_channels)
        self.register_buffer("alphas_cumprod", alphas_cumprod(), persistent=False)
        self.is_sdxl = True
        self.is_sdxl_inpaint = config.is_inpaint
        self.lowvram = False

    @property
    def cond_stage_model(self) -> GeneralConditioner:
        return self.conditioner

    def apply_model(self, x: torch.Tensor, t: torch.Tensor, cond: dict) -> torch.Tensor:
        from modules import devices

        if self.is_sdxl_inpaint:
            x = torch.cat([x, *cond["c_concat"]], dim=1)
        if devices.force_fp16:
            kind = devices.dtype_unet
            cond = {k: v.to(kind) if isinstance(v, torch.Tensor) else v for k, v in cond.items()}
            return self.model(x.to(kind), t, cond).float()
        return self.model(x, t, cond)

    def get_learned_conditioning(self, batch: Any) -> dict[str, torch.Tensor]:
        from modules.shared import opts

        width = getattr(batch, "width", None) or 1024
        height = getattr(batch, "height", None) or 1024
        numbers = [height, width, opts.sdxl_crop_top, opts.sdxl_crop_left, height, width]
        return self.conditioner(list(batch), numbers)
