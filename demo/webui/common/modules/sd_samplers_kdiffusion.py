"""The k-diffusion samplers, driven by sigmas."""

from __future__ import annotations

import inspect
from typing import Any

import k_diffusion.external
import k_diffusion.sampling
import torch

import standin_sampling as seam
from modules import devices, sd_samplers_cfg_denoiser, sd_samplers_common, sd_schedulers

_SDE = {"brownian_noise": True}
samplers_k_diffusion: list[tuple[str, Any, list[str], dict[str, Any]]] = [
    ("DPM++ 2M", "sample_dpmpp_2m", ["k_dpmpp_2m"], {"scheduler": "karras"}),
    ("DPM++ SDE", "sample_dpmpp_sde", ["k_dpmpp_sde"], {"scheduler": "karras", "second_order": True, **_SDE}),
    ("DPM++ 2M SDE", "sample_dpmpp_2m_sde", ["k_dpmpp_2m_sde"], {"scheduler": "exponential", **_SDE}),
    ("DPM++ 2M SDE Heun", "sample_dpmpp_2m_sde", ["k_dpmpp_2m_sde_heun"],
     {"scheduler": "exponential", "solver_type": "heun", **_SDE}),
    ("DPM++ 2S a", "sample_dpmpp_2s_ancestral", ["k_dpmpp_2s_a"],
     {"scheduler": "karras", "uses_ensd": True, "second_order": True}),
    ("DPM++ 3M SDE", "sample_dpmpp_3m_sde", ["k_dpmpp_3m_sde"],
     {"scheduler": "exponential", "discard_next_to_last_sigma": True, **_SDE}),
    ("Euler a", "sample_euler_ancestral", ["k_euler_a", "k_euler_ancestral"], {"uses_ensd": True}),
    ("Euler", "sample_euler", ["k_euler"], {}),
    ("LMS", "sample_lms", ["k_lms"], {}),
    ("Heun", "sample_heun", ["k_heun"], {"second_order": True}),
    ("DPM2", "sample_dpm_2", ["k_dpm_2"],
     {"scheduler": "karras", "discard_next_to_last_sigma": True, "second_order": True}),
    ("DPM2 a", "sample_dpm_2_ancestral", ["k_dpm_2_a"],
     {"scheduler": "karras", "discard_next_to_last_sigma": True, "uses_ensd": True, "second_order": True}),
    ("DPM fast", "sample_dpm_fast", ["k_dpm_fast"], {"uses_ensd": True}),
    ("DPM adaptive", "sample_dpm_adaptive", ["k_dpm_ad"], {"uses_ensd": True}),
]


class CFGDenoiserKDiffusion(sd_samplers_cfg_denoiser.CFGDenoiser):
    @property
    def inner_model(self) -> Any:
        if self.model_wrap is None:
            self.model_wrap = seam.k_denoiser()
        return self.model_wrap


class KDiffusionSampler(sd_samplers_common.Sampler):
    def __init__(self, funcname: Any, sd_model: Any) -> None:
        super().__init__(funcname)
        self.func = funcname if callable(funcname) else getattr(k_diffusion.sampling, funcname)
        self.model_wrap_cfg = CFGDenoiserKDiffusion(self)
        self.model_wrap = self.model_wrap_cfg.inner_model

    def get_sigmas(self, p: Any, steps: int) -> torch.Tensor:
        options = self.config.options if self.config is not None else {}
        discard = options.get("discard_next_to_last_sigma", False)
        steps += 1 if discard else 0
        name = (p.hr_scheduler if p.is_hr_pass else p.scheduler) or "Automatic"
        if name == "Automatic":
            name = options.get("scheduler", None)
        scheduler = sd_schedulers.schedulers_map.get(name)
        low, high = self.model_wrap.sigmas[0].item(), self.model_wrap.sigmas[-1].item()

        if scheduler is None or scheduler.function is None:
            sigmas = self.model_wrap.get_sigmas(steps)
        else:
            kwargs: dict[str, Any] = {"sigma_min": low, "sigma_max": high}
            if not p.is_hr_pass:
                p.extra_generation_params["Schedule type"] = scheduler.label
            elif scheduler.label != p.extra_generation_params.get("Schedule type"):
                p.extra_generation_params["Hires schedule type"] = scheduler.label
            if scheduler.need_inner_model:
                kwargs["inner_model"] = self.model_wrap
            sigmas = scheduler.function(n=steps, **kwargs, device=devices.cpu)
        if discard:
            sigmas = torch.cat([sigmas[:-2], sigmas[-1:]])
        return sigmas.cpu()

    def _arguments(self, p: Any, x: torch.Tensor, steps: int, sigmas: torch.Tensor, used: torch.Tensor,
                   bounds: tuple) -> dict[str, Any]:
        """The sampler function's arguments: it takes sigmas, or a range of them and a number of steps."""
        kwargs = self.initialize(p)
        parameters = inspect.signature(self.func).parameters
        offered = {"n": steps, "sigma_min": bounds[0], "sigma_max": bounds[1], "sigmas": used, "sigma_sched": used}
        kwargs.update({k: v for k, v in offered.items() if k in parameters})
        if self.config.options.get("brownian_noise", False):
            kwargs["noise_sampler"] = self.create_noise_sampler(x, sigmas, p)
        if self.config.options.get("solver_type") == "heun":
            kwargs["solver_type"] = "heun"
        return kwargs

    def sample_img2img(self, p: Any, x: Any, noise: Any, conditioning: Any, unconditional_conditioning: Any,
                       steps: int | None = None, image_conditioning: Any = None) -> Any:
        seam.prepare(self.model_wrap, x)
        steps, t_enc = sd_samplers_common.setup_img2img_steps(p, steps)
        sigmas = self.get_sigmas(p, steps).to(x.device)
        used = sigmas[steps - t_enc - 1 :]
        xi = seam.add_noise(self.model_wrap, x, noise, used[0])
        bounds = (used[-2], used[0])
        kwargs = self._arguments(p, x, len(used) - 1, sigmas, used, bounds)
        self.model_wrap_cfg.init_latent = x
        self.last_latent = x
        return self.run(p, xi, t_enc + 1, (conditioning, unconditional_conditioning, image_conditioning), kwargs)

    def sample(self, p: Any, x: Any, conditioning: Any, unconditional_conditioning: Any, steps: int | None = None,
               image_conditioning: Any = None) -> Any:
        seam.prepare(self.model_wrap, x)
        steps = steps or p.steps
        sigmas = self.get_sigmas(p, steps).to(x.device)
        x = seam.scale_noise(self.model_wrap, x, sigmas[0])
        bounds = (self.model_wrap.sigmas[0].item(), self.model_wrap.sigmas[-1].item())
        kwargs = self._arguments(p, x, steps, sigmas, sigmas, bounds)
        self.last_latent = x
        return self.run(p, x, steps, (conditioning, unconditional_conditioning, image_conditioning), kwargs)


def _constructor(funcname: str) -> Any:
    return lambda model: KDiffusionSampler(funcname, model)


samplers_data_k_diffusion = [
    sd_samplers_common.SamplerData(label, _constructor(funcname), aliases, options)
    for label, funcname, aliases, options in samplers_k_diffusion
]
