"""The UNet as samplers want it: noisy latents in, denoised latents out."""

from __future__ import annotations

from typing import Any

import torch

from backend.modules.k_prediction import Prediction


class KModel(torch.nn.Module):
    def __init__(self, model: Any, diffusers_scheduler: Any = None, k_predictor: Any = None,
                 config: Any = None) -> None:
        super().__init__()
        self.config = config
        self.storage_dtype = model.storage_dtype
        self.computation_dtype = model.computation_dtype
        self.diffusion_model = model
        self.predictor = k_predictor or Prediction()

    def apply_model(self, x: torch.Tensor, t: torch.Tensor, c_concat: Any = None, c_crossattn: Any = None,
                    control: Any = None, transformer_options: dict = {}, **kwargs: Any) -> torch.Tensor:  # noqa: B006
        sigma, dtype = t, self.computation_dtype
        scaled = self.predictor.calculate_input(sigma, x)
        if c_concat is not None:
            scaled = torch.cat([scaled, c_concat], dim=1)
        extra = {}
        for name, value in kwargs.items():
            floating = isinstance(value, torch.Tensor) and value.is_floating_point()
            extra[name] = value.to(dtype) if floating else value
        timestep = self.predictor.timestep(sigma).float()
        output = self.diffusion_model(scaled.to(dtype), timestep, context=c_crossattn.to(dtype), control=control,
                                      transformer_options=transformer_options, **extra).float()
        return self.predictor.calculate_denoised(sigma, output, x)
