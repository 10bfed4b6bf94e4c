"""What txt2img and img2img have in common: the request's fields, its scripts, its conditionings."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

import standin_processing as seam
from modules import devices, extra_networks, prompt_parser, sd_samplers, shared
from modules.sd_samplers_common import images_tensor_to_samples
from modules.shared import opts, state

opt_C = 4
opt_f = 8


def get_fixed_seed(seed: Any) -> Any:
    """-1, nothing and nonsense all mean: any seed."""
    if isinstance(seed, str):
        try:
            seed = int(seed)
        except ValueError:
            seed = -1
    if seed is None or seed == -1:
        return int(random.randrange(4294967294))
    return seed


def fix_seed(p: Any) -> None:
    p.seed = get_fixed_seed(p.seed)
    p.subseed = get_fixed_seed(p.subseed)


def masked_conditioning(image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The five extra channels of an inpainting UNet: the mask, and the latent of the image without what it covers."""
    latent = images_tensor_to_samples(image * 0.5 + 0.5)
    mask = torch.nn.functional.interpolate(mask.to(latent), size=latent.shape[-2:]).expand(latent.shape[0], -1, -1, -1)
    return torch.cat([mask, latent], dim=1)


@dataclass(repr=False)
class StableDiffusionProcessing(seam.BaseFields):
    sd_model: object = None
    outpath_samples: str = None
    outpath_grids: str = None
    prompt: str = ""
    negative_prompt: str = ""
    styles: list = None
    seed: int = -1
    subseed: int = -1
    subseed_strength: float = 0
    sampler_name: str = None
    scheduler: str = None
    batch_size: int = 1
    n_iter: int = 1
    steps: int = 50
    cfg_scale: float = 7.0
    width: int = 512
    height: int = 512
    restore_faces: bool = None
    tiling: bool = None
    do_not_save_samples: bool = False
    do_not_save_grid: bool = False
    extra_generation_params: dict = None
    overlay_images: list = None
    eta: float = None
    denoising_strength: float = None
    s_min_uncond: float = None
    s_churn: float = None
    s_tmax: float = None
    s_tmin: float = None
    s_noise: float = None
    override_settings: dict = None
    override_settings_restore_afterwards: bool = True
    sampler_index: int = None
    refiner_checkpoint: str = None
    refiner_switch_at: float = None
    token_merging_ratio = 0
    token_merging_ratio_hr = 0
    disable_extra_networks: bool = False

    scripts_value: Any = field(default=None, init=False)
    script_args_value: Any = field(default=None, init=False)
    scripts_setup_complete: bool = field(default=False, init=False)
    # One cache for all requests: [key, conditioning]. It outlives p, and that is its point.
    cached_uc = [None, None]
    cached_c = [None, None]
    comments: dict = field(default=None, init=False)
    sampler: Any = field(default=None, init=False)
    is_using_inpainting_conditioning: bool = field(default=False, init=False)
    paste_to: Any = field(default=None, init=False)
    is_hr_pass: bool = field(default=False, init=False)
    c: Any = field(default=None, init=False)
    uc: Any = field(default=None, init=False)
    rng: Any = field(default=None, init=False)
    all_prompts: list = field(default=None, init=False)
    all_negative_prompts: list = field(default=None, init=False)
    all_seeds: list = field(default=None, init=False)
    all_subseeds: list = field(default=None, init=False)
    iteration: int = field(default=0, init=False)
    main_prompt: str = field(default=None, init=False)
    main_negative_prompt: str = field(default=None, init=False)
    prompts: list = field(default=None, init=False)
    negative_prompts: list = field(default=None, init=False)
    seeds: list = field(default=None, init=False)
    subseeds: list = field(default=None, init=False)
    extra_network_data: dict = field(default=None, init=False)
    user: str = field(default=None, init=False)
    sd_model_name: str = field(default=None, init=False)
    sd_model_hash: str = field(default=None, init=False)
    is_api: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if self.sampler_index is not None:
            print("sampler_index does not do anything; use sampler_name", file=sys.stderr)
        self.comments = {}
        self.styles = self.styles or []
        self.extra_generation_params = self.extra_generation_params or {}
        self.override_settings = self.override_settings or {}
        self.script_args = self.script_args or {}
        self.refiner_checkpoint_info = None
        self.cached_uc = StableDiffusionProcessing.cached_uc
        self.cached_c = StableDiffusionProcessing.cached_c
        seam.prepare(self)

    @property
    def sd_model(self) -> Any:
        """Always the host's current model: setting it on p does nothing."""
        return shared.sd_model

    @sd_model.setter
    def sd_model(self, value: Any) -> None:
        pass

    @property
    def scripts(self) -> Any:
        return self.scripts_value

    @scripts.setter
    def scripts(self, value: Any) -> None:
        self.scripts_value = value
        self._setup_once()

    @property
    def script_args(self) -> Any:
        return self.script_args_value

    @script_args.setter
    def script_args(self, value: Any) -> None:
        self.script_args_value = value
        self._setup_once()

    def _setup_once(self) -> None:
        if self.scripts_value and self.script_args_value and not self.scripts_setup_complete:
            self.setup_scripts()

    def setup_scripts(self) -> None:
        self.scripts_setup_complete = True
        self.scripts.setup_scrips(self, is_ui=not self.is_api)

    def fill_fields_from_opts(self) -> None:
        for name in ("s_min_uncond", "s_churn", "s_tmin", "s_tmax", "s_noise"):
            if getattr(self, name) is None:
                setattr(self, name, getattr(opts, name))
        self.s_tmax = self.s_tmax or float("inf")

    def comment(self, text: str) -> None:
        self.comments[text] = 1

    def txt2img_image_conditioning(self, x: torch.Tensor, width: int | None = None,
                                   height: int | None = None) -> torch.Tensor:
        """An inpainting model without an image sees an all-grey one, all masked; other models a dummy."""
        if not seam.is_inpainting(self.sd_model):
            return x.new_zeros(x.shape[0], 5, 1, 1)
        self.is_using_inpainting_conditioning = True
        size = (height or self.height, width or self.width)
        grey = torch.zeros(x.shape[0], 3, *size, device=x.device)
        return masked_conditioning(grey, torch.ones(1, 1, *size)).to(x.dtype)

    def inpainting_image_conditioning(self, source_image: torch.Tensor, latent_image: torch.Tensor,
                                      image_mask: Any = None, round_image_mask: bool = True) -> torch.Tensor:
        self.is_using_inpainting_conditioning = True
        if image_mask is None:
            mask = source_image.new_ones(1, 1, *source_image.shape[-2:])
        elif torch.is_tensor(image_mask):
            mask = image_mask
        else:
            mask = torch.from_numpy(np.array(image_mask.convert("L")).astype(np.float32) / 255.0)[None, None]
            mask = mask.round() if round_image_mask else mask
        mask = mask.to(source_image)
        weight = getattr(self, "inpainting_mask_weight", opts.inpainting_mask_weight)
        return masked_conditioning(torch.lerp(source_image, source_image * (1.0 - mask), weight), mask)

    def img2img_image_conditioning(self, source_image: torch.Tensor, latent_image: torch.Tensor,
                                   image_mask: Any = None, round_image_mask: bool = True) -> torch.Tensor:
        if seam.is_inpainting(self.sd_model):
            return self.inpainting_image_conditioning(source_image, latent_image, image_mask, round_image_mask)
        return latent_image.new_zeros(latent_image.shape[0], 5, 1, 1)

    def init(self, all_prompts: list, all_seeds: list, all_subseeds: list) -> None:
        """Once per job, before the first batch."""

    def sample(self, conditioning: Any, unconditional_conditioning: Any, seeds: list, subseeds: list,
               subseed_strength: float, prompts: list) -> Any:
        raise NotImplementedError

    def close(self) -> None:
        self.sampler = None
        self.c = None
        self.uc = None

    def get_token_merging_ratio(self, for_hr: bool = False) -> float:
        plain = self.token_merging_ratio or opts.token_merging_ratio
        return (self.token_merging_ratio_hr or opts.token_merging_ratio_hr or plain) if for_hr else plain

    def setup_prompts(self) -> None:
        prompt, negative = self.prompt, self.negative_prompt
        if isinstance(prompt, list):
            prompts = prompt
        else:
            prompts = [prompt] * (len(negative) if isinstance(negative, list) else self.batch_size * self.n_iter)
        negatives = negative if isinstance(negative, list) else [negative] * len(prompts)
        if len(prompts) != len(negatives):
            raise RuntimeError(f"Received {len(prompts)} prompts and {len(negatives)} negative prompts")
        self.all_prompts, self.all_negative_prompts = list(prompts), list(negatives)
        self.main_prompt = self.all_prompts[0]
        self.main_negative_prompt = self.all_negative_prompts[0]

    def cached_params(self, required_prompts: list, steps: int, extra_network_data: Any,
                      hires_steps: int | None = None) -> tuple:
        """Everything a conditioning depends on."""
        return (
            list(required_prompts), steps, hires_steps, opts.CLIP_stop_at_last_layers,
            shared.sd_model.sd_checkpoint_info, extra_network_data, opts.sdxl_crop_left, opts.sdxl_crop_top,
            self.width, self.height, opts.fp8_storage, opts.cache_fp16_weight, opts.emphasis,
        )

    def get_conds_with_caching(self, function: Callable, required_prompts: list, steps: int, caches: list[list],
                               extra_network_data: Any, hires_steps: int | None = None) -> Any:
        key = self.cached_params(required_prompts, steps, extra_network_data, hires_steps)
        for cache in caches:
            if cache[0] is not None and cache[0] == key:
                return cache[1]
        with devices.autocast():
            caches[0][1] = function(shared.sd_model, required_prompts, steps, hires_steps)
        caches[0][0] = key
        return caches[0][1]

    def setup_conds(self) -> None:
        size = {"width": self.width, "height": self.height}
        prompts = prompt_parser.SdConditioning(self.prompts, **size)
        negatives = prompt_parser.SdConditioning(self.negative_prompts, is_negative_prompt=True, **size)
        config = sd_samplers.find_sampler_config(self.sampler_name)
        total_steps = config.total_steps(self.steps) if config else self.steps
        self.firstpass_steps = total_steps
        networks = self.extra_network_data
        self.uc = None
        if seam.needs_uncond(self.cfg_scale):
            self.uc = self.get_conds_with_caching(prompt_parser.get_learned_conditioning, negatives, total_steps,
                                                  [self.cached_uc], networks)
        self.c = self.get_conds_with_caching(prompt_parser.get_multicond_learned_conditioning, prompts, total_steps,
                                             [self.cached_c], networks)

    def get_conds(self) -> tuple:
        return self.c, self.uc

    def parse_extra_network_prompts(self) -> None:
        self.prompts, self.extra_network_data = extra_networks.parse_prompts(self.prompts)

    def save_samples(self) -> bool:
        stopped = state.interrupted or state.skipped
        return opts.samples_save and not self.do_not_save_samples and (opts.save_incomplete_images or not stopped)
