"""The SD1 and SD2 model: wrapper, text encoder, autoencoder, schedule."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from common.checkpoints import ModelConfig
from common.nn.schedule import alphas_cumprod
from common.nn.text import TextEncoder
from common.nn.unet import UNetModel
from common.nn.vae import build_vae


class DiffusionWrapper(nn.Module):
    def __init__(self, diffusion_model: nn.Module, conditioning_key: str) -> None:
        super().__init__()
        self.diffusion_model = diffusion_model
        self.conditioning_key = conditioning_key

    def forward(self, x: torch.Tensor, t: torch.Tensor, c_concat: list | None = None,
                c_crossattn: list | None = None, c_adm: torch.Tensor | None = None) -> torch.Tensor:
        context = torch.cat(c_crossattn, 1)
        if self.conditioning_key == "crossattn":
            return self.diffusion_model(x, t, context=context)
        if self.conditioning_key == "hybrid":
            return self.diffusion_model(torch.cat([x, *c_concat], dim=1), t, context=context)
        if self.conditioning_key == "crossattn-adm":
            return self.diffusion_model(x, t, context=context, y=c_adm)
        raise NotImplementedError(self.conditioning_key)


class LatentDiffusion(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.parameterization = config.prediction
        self.model = DiffusionWrapper(UNetModel(config.unet), "hybrid" if config.is_inpaint else "crossattn")
        self.first_stage_model = build_vae(config.vae)
        self.cond_stage_model = TextEncoder(config.text)
        self.register_buffer("alphas_cumprod", alphas_cumprod(), persistent=False)
        self.is_sdxl = self.is_sdxl_inpaint = False
        self.lowvram = False

    @property
    def device(self) -> torch.device:
        return self.alphas_cumprod.device

    @contextlib.contextmanager
    def ema_scope(self, context: Any = None) -> Iterator[None]:
        yield None

    def apply_model(self, x_noisy: torch.Tensor, t: torch.Tensor, cond: Any, return_ids: bool = False) -> torch.Tensor:
        from modules import devices

        if not isinstance(cond, dict):
            cond = {"c_crossattn": cond if isinstance(cond, list) else [cond]}
        if devices.force_fp16:
            kind = devices.dtype_unet
            cond = {k: [x.to(kind) for x in v] if isinstance(v, list) else v for k, v in cond.items()}
            return self.model(x_noisy.to(kind), t, **cond).float()
        return self.model(x_noisy, t, **cond)

    def get_learned_conditioning(self, c: list[str]) -> torch.Tensor:
        return self.cond_stage_model(c).float()

    def get_first_stage_encoding(self, encoder_posterior: torch.Tensor) -> torch.Tensor:
        return encoder_posterior

    def encode_first_stage(self, x: torch.Tensor) -> torch.Tensor:
        return self.first_stage_model.encode(x)

    def decode_first_stage(self, z: torch.Tensor) -> torch.Tensor:
        return self.first_stage_model.decode(z)
