"""What samplers call as their model; the guidance itself is in the backend."""

from __future__ import annotations

from typing import Any

import torch

import modules.shared as shared
from backend.sampling.sampling_function import sampling_function
from common.host.denoiser import Denoiser
from modules import prompt_parser, sd_samplers_common
from modules.script_callbacks import (
    AfterCFGCallbackParams, CFGDenoiserParams, cfg_after_cfg_callback, cfg_denoiser_callback,
)
from modules.shared import state


class CFGDenoiser(Denoiser):
    classic_ddim_eps_estimation = False

    def _to_sigma(self, x: torch.Tensor, timestep: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Timestep samplers work with another scale of noise than the backend."""
        alphas = self.inner_model.inner_model.alphas_cumprod
        sigmas = ((1 - alphas) / alphas) ** 0.5
        sigma = sigmas[timestep.round().long().clip(0, len(sigmas) - 1)]
        return x * (sigma**2 + 1).sqrt()[:, None, None, None], sigma

    def _guidance(self, sigma: torch.Tensor, cond_scale: float, s_min_uncond: float) -> float:
        if self.skips_uncond(sigma, s_min_uncond):
            return 1.0
        return self.p.hr_cfg if self.p.is_hr_pass else cond_scale

    def forward(self, x: torch.Tensor, sigma: torch.Tensor, uncond: Any, cond: Any, cond_scale: float,
                s_min_uncond: float, image_cond: torch.Tensor) -> torch.Tensor:
        if state.interrupted or state.skipped:
            raise sd_samplers_common.InterruptedException
        device, dtype = x.device, x.dtype
        if self.classic_ddim_eps_estimation:
            x, sigma = self._to_sigma(x, sigma)
        if sd_samplers_common.apply_refiner(self, x):
            cond = self.sampler.sampler_extra_args["cond"]
            uncond = self.sampler.sampler_extra_args["uncond"]
        composition, cond = prompt_parser.reconstruct_multicond_batch(cond, self.step)
        uncond = prompt_parser.reconstruct_cond_batch(uncond, self.step) if uncond is not None else None
        if self.mask is not None:
            predictor = self.inner_model.inner_model.forge_objects.unet.model.predictor
            noise = torch.randn_like(self.init_latent)
            known = predictor.noise_scaling(sigma[:, None, None, None], noise, self.init_latent)
            x = x * self.nmask + known * self.mask
        params = CFGDenoiserParams(x, image_cond, sigma, state.sampling_step, state.sampling_steps, cond, uncond, self)
        cfg_denoiser_callback(params)
        cond_scale = self._guidance(sigma, cond_scale, s_min_uncond)
        denoised = sampling_function(self, denoiser_params=params, cond_scale=cond_scale, cond_composition=composition)
        if self.mask is not None:
            denoised = self.blend(denoised, sigma)
        self.sampler.last_latent = denoised
        sd_samplers_common.store_latent(denoised)
        after = AfterCFGCallbackParams(denoised, state.sampling_step, state.sampling_steps)
        cfg_after_cfg_callback(after)
        self.step += 1
        if self.classic_ddim_eps_estimation:
            return (x - after.x) / sigma[:, None, None, None]
        return after.x.to(device=device, dtype=dtype)


class _TimestepsDenoiser(torch.nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.inner_model = model
        model.alphas_cumprod = 1.0 / (model.forge_objects.unet.model.predictor.sigmas**2.0 + 1.0)


class CFGDenoiserTimesteps(CFGDenoiser):
    def __init__(self, sampler: Any) -> None:
        super().__init__(sampler)
        self.classic_ddim_eps_estimation = True

    @property
    def inner_model(self) -> Any:
        if self.model_wrap is None:
            self.model_wrap = _TimestepsDenoiser(shared.sd_model)
        return self.model_wrap
