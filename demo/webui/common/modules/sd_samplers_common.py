"""What all samplers share: launching, interruption, previews, and the random numbers."""

from __future__ import annotations

import inspect
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import k_diffusion.sampling
import numpy as np
import torch
from PIL import Image

from modules import devices, shared
from modules.shared import opts, state
from standin_sampling import apply_refiner  # noqa: F401

SamplerDataTuple = namedtuple("SamplerData", ["name", "constructor", "aliases", "options"])


class SamplerData(SamplerDataTuple):
    def total_steps(self, steps: int) -> int:
        """The number of denoiser calls to expect."""
        return steps * 2 if self.options.get("second_order", False) else steps


class InterruptedException(BaseException):
    """Not an ``Exception``: the handlers around callbacks and scripts must let it through."""


def setup_img2img_steps(p: Any, steps: int | None = None) -> tuple[int, int]:
    """The length of the whole schedule, and how many of its last steps are taken."""
    if opts.img2img_fix_steps or steps is not None:
        requested = steps or p.steps
        total = int(requested / min(p.denoising_strength, 0.999)) if p.denoising_strength > 0 else 0
        return total, requested - 1
    return p.steps, int(min(p.denoising_strength, 0.999) * p.steps)


def samples_to_images_tensor(sample: torch.Tensor, model: Any = None) -> torch.Tensor:
    """Latents to pixels in [-1, 1]."""
    model = shared.sd_model if model is None else model
    return model.decode_first_stage(sample.to(devices.dtype_vae))


def single_sample_to_image(sample: torch.Tensor) -> Image.Image:
    with torch.no_grad():
        pixels = samples_to_images_tensor(sample[None])[0].float() * 0.5 + 0.5
    array = (pixels.cpu().clamp(0.0, 1.0) * 255.0).round().to(torch.uint8).numpy()
    return Image.fromarray(np.moveaxis(array, 0, 2))


def decode_first_stage(model: Any, x: torch.Tensor) -> torch.Tensor:
    return samples_to_images_tensor(x, model)


def sample_to_image(samples: torch.Tensor, index: int = 0) -> Image.Image:
    return single_sample_to_image(samples[index])


def samples_to_image_grid(samples: torch.Tensor) -> Image.Image:
    from modules import images

    return images.image_grid([single_sample_to_image(sample) for sample in samples])


def images_tensor_to_samples(image: torch.Tensor, model: Any = None) -> torch.Tensor:
    """Pixels in [0, 1] to latents, one image at a time."""
    model = shared.sd_model if model is None else model
    image = image.to(shared.device, dtype=devices.dtype_vae) * 2 - 1
    encoded = [model.get_first_stage_encoding(model.encode_first_stage(x[None])) for x in image]
    return torch.cat(encoded).float()


def store_latent(decoded: torch.Tensor) -> None:
    """Leaves the latent for the preview thread; with offloading the preview has to be made here."""
    state.current_latent = decoded
    every = opts.show_progress_every_n_steps
    due = opts.live_previews_enable and every > 0 and state.sampling_step % every == 0
    if due and not shared.parallel_processing_allowed:
        state.assign_current_image(sample_to_image(decoded))


class TorchHijack:
    """Stands in for ``torch`` inside k-diffusion, so that its noise comes from the images' own generators."""

    def __init__(self, p: Any) -> None:
        self.rng = p.rng

    def __getattr__(self, item: str) -> Any:
        return getattr(torch, item)

    def randn_like(self, x: torch.Tensor) -> torch.Tensor:
        return self.rng.next()


class Sampler:
    def __init__(self, funcname: Any) -> None:
        self.funcname = funcname
        self.func: Callable = funcname
        self.eta: float | None = None
        self.config: SamplerData | None = None
        self.last_latent: Any = None
        self.s_min_uncond: float | None = None
        self.eta_option_field, self.eta_infotext_field, self.eta_default = "eta_ancestral", "Eta", 1.0
        self.p: Any = None
        self.model_wrap_cfg: Any = None
        self.sampler_extra_args: dict[str, Any] | None = None

    def callback_state(self, d: dict) -> None:
        state.sampling_step = d["i"]
        shared.total_tqdm.update()

    def launch_sampling(self, steps: int, func: Callable) -> Any:
        """Runs the sampler function; an interruption ends it with the last latent there was."""
        self.model_wrap_cfg.steps = steps
        self.model_wrap_cfg.total_steps = self.config.total_steps(steps)
        state.sampling_steps = steps
        state.sampling_step = 0
        try:
            return func()
        except InterruptedException:
            return self.last_latent

    def initialize(self, p: Any) -> dict[str, Any]:
        """Ties the denoiser to the job, and collects the sampler function's extra arguments."""
        self.p = p
        cfg = self.model_wrap_cfg
        cfg.p = p
        cfg.mask = getattr(p, "mask", None)
        cfg.nmask = getattr(p, "nmask", None)
        cfg.step = 0
        self.eta = p.eta if p.eta is not None else getattr(opts, self.eta_option_field, 0.0)
        self.s_min_uncond = getattr(p, "s_min_uncond", 0.0)
        k_diffusion.sampling.torch = TorchHijack(p)

        parameters = inspect.signature(self.func).parameters
        if "eta" not in parameters:
            return {}
        if self.eta != self.eta_default:
            p.extra_generation_params[self.eta_infotext_field] = self.eta
        return {"eta": self.eta}

    def create_noise_sampler(self, x: torch.Tensor, sigmas: torch.Tensor, p: Any) -> Any:
        """A Brownian tree per image, so that batches and single images agree."""
        seeds = p.all_seeds[p.iteration * p.batch_size : (p.iteration + 1) * p.batch_size]
        low, high = sigmas[sigmas > 0].min(), sigmas.max()
        return k_diffusion.sampling.BrownianTreeNoiseSampler(x, low, high, seed=seeds)

    def run(self, p: Any, x: Any, steps: int, conds: tuple[Any, Any, Any], kwargs: dict[str, Any]) -> Any:
        """Samples from ``x``; ``conds`` are those of the prompt, the negative prompt and the image."""
        cond, uncond, image_cond = conds
        self.sampler_extra_args = {"cond": cond, "image_cond": image_cond, "uncond": uncond, "cond_scale": p.cfg_scale,
                                   "s_min_uncond": self.s_min_uncond}
        samples = self.launch_sampling(steps, lambda: self.func(
            self.model_wrap_cfg, x, extra_args=self.sampler_extra_args, disable=True, callback=self.callback_state,
            **kwargs))
        if self.model_wrap_cfg.padded_cond_uncond:
            p.extra_generation_params["Pad conds"] = True
        return samples
