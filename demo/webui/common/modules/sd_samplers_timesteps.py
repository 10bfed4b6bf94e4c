"""The timestep sampler DDIM: here ``sigma`` is the timestep, and the denoiser gives eps."""

from __future__ import annotations

import inspect
from typing import Any

import k_diffusion.sampling
import torch

import standin_sampling as seam
from modules import devices, sd_samplers_common, shared
from modules.sd_samplers_cfg_denoiser import CFGDenoiserTimesteps


@torch.no_grad()
def ddim(model: Any, x: torch.Tensor, timesteps: torch.Tensor, extra_args: dict | None = None, callback: Any = None,
         disable: bool | None = None, eta: float = 0.0) -> torch.Tensor:
    """Denoising diffusion implicit models (Song et al., 2021); ``timesteps`` rise, and are walked down."""
    alphas = model.inner_model.inner_model.alphas_cumprod.to(x.device, torch.float64)
    extra_args = extra_args or {}
    rows = x.new_ones(x.shape[0])
    previous = torch.nn.functional.pad(timesteps[:-1], pad=(1, 0))
    for i, index in enumerate(range(len(timesteps) - 1, 0, -1)):
        eps = model(x, float(timesteps[index]) * rows, **extra_args)
        a, a_prev = float(alphas[timesteps[index]]), float(alphas[previous[index]])
        sigma = eta * ((1 - a_prev) / (1 - a) * (1 - a / a_prev)) ** 0.5
        denoised = (x - (1 - a) ** 0.5 * eps) / a**0.5
        # The name `torch` inside k-diffusion is replaced by the images' own generators for the time of a job.
        noise = sigma * k_diffusion.sampling.torch.randn_like(x)
        x = a_prev**0.5 * denoised + (1 - a_prev - sigma**2) ** 0.5 * eps + noise
        if callback is not None:
            callback({"x": x, "i": i, "sigma": 0, "sigma_hat": 0, "denoised": denoised})
    return x


class CompVisSampler(sd_samplers_common.Sampler):
    def __init__(self, funcname: Any, sd_model: Any) -> None:
        super().__init__(funcname)
        self.eta_option_field, self.eta_infotext_field, self.eta_default = "eta_ddim", "Eta DDIM", 0.0
        self.model_wrap_cfg = CFGDenoiserTimesteps(self)
        self.model_wrap = self.model_wrap_cfg.inner_model

    def get_timesteps(self, p: Any, steps: int) -> torch.Tensor:
        every = 1000 // steps
        return torch.clip(torch.arange(0, 1000, every, device=devices.device) + 1, 0, 999)

    def _timesteps_argument(self, timesteps: torch.Tensor) -> dict[str, Any]:
        return {"timesteps": timesteps} if "timesteps" in inspect.signature(self.func).parameters else {}

    def sample_img2img(self, p: Any, x: Any, noise: Any, conditioning: Any, unconditional_conditioning: Any,
                       steps: int | None = None, image_conditioning: Any = None) -> Any:
        seam.prepare(self.model_wrap, x)
        steps, t_enc = sd_samplers_common.setup_img2img_steps(p, steps)
        timesteps = self.get_timesteps(p, steps).to(x.device)
        alpha = shared.sd_model.alphas_cumprod[timesteps[t_enc].item()].to(x.device)
        xi = x.to(noise) * alpha.sqrt() + noise * (1 - alpha).sqrt()
        kwargs = {**self.initialize(p), **self._timesteps_argument(timesteps[:t_enc])}
        self.model_wrap_cfg.init_latent = x
        self.last_latent = x
        return self.run(p, xi, t_enc + 1, (conditioning, unconditional_conditioning, image_conditioning), kwargs)

    def sample(self, p: Any, x: Any, conditioning: Any, unconditional_conditioning: Any, steps: int | None = None,
               image_conditioning: Any = None) -> Any:
        seam.prepare(self.model_wrap, x)
        steps = steps or p.steps
        kwargs = {**self.initialize(p), **self._timesteps_argument(self.get_timesteps(p, steps).to(x.device))}
        self.last_latent = x
        return self.run(p, x, steps, (conditioning, unconditional_conditioning, image_conditioning), kwargs)


samplers_timesteps = [("DDIM", ddim, ["ddim"], {})]
samplers_data_timesteps = [
    sd_samplers_common.SamplerData(label, lambda model, funcname=funcname: CompVisSampler(funcname, model), aliases, {})
    for label, funcname, aliases, _options in samplers_timesteps
]
