"""txt2img, with its optional second pass at a larger size."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image

import standin_processing as seam
from common.host.decoding import decode_latent_batch
from common.host.processing_base import StableDiffusionProcessing, opt_f
from modules import devices, extra_networks, images, prompt_parser, rng, sd_models, sd_samplers, shared
from modules.sd_samplers_common import decode_first_stage, images_tensor_to_samples
from modules.shared import opts, state


def _to_tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.moveaxis(np.array(image.convert("RGB")).astype(np.float32) / 255.0, 2, 0))


@dataclass(repr=False)
class StableDiffusionProcessingTxt2Img(StableDiffusionProcessing, seam.Txt2ImgFields):
    enable_hr: bool = False
    denoising_strength: float = 0.75
    hr_scale: float = 2.0
    hr_upscaler: str = None
    hr_second_pass_steps: int = 0
    hr_resize_x: int = 0
    hr_resize_y: int = 0
    hr_checkpoint_name: str = None
    hr_sampler_name: str = None
    hr_scheduler: str = None
    hr_prompt: str = ""
    hr_negative_prompt: str = ""
    force_task_id: str = None

    cached_hr_uc = [None, None]
    cached_hr_c = [None, None]
    hr_checkpoint_info: Any = field(default=None, init=False)
    hr_upscale_to_x: int = field(default=0, init=False)
    hr_upscale_to_y: int = field(default=0, init=False)
    truncate_x: int = field(default=0, init=False)
    truncate_y: int = field(default=0, init=False)
    latent_scale_mode: dict = field(default=None, init=False)
    hr_c: Any = field(default=None, init=False)
    hr_uc: Any = field(default=None, init=False)
    all_hr_prompts: list = field(default=None, init=False)
    all_hr_negative_prompts: list = field(default=None, init=False)
    hr_prompts: list = field(default=None, init=False)
    hr_negative_prompts: list = field(default=None, init=False)
    hr_extra_network_data: Any = field(default=None, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.cached_hr_uc = StableDiffusionProcessingTxt2Img.cached_hr_uc
        self.cached_hr_c = StableDiffusionProcessingTxt2Img.cached_hr_c

    # Size and settings of the second pass

    def calculate_target_resolution(self) -> None:
        if self.hr_resize_x == 0 and self.hr_resize_y == 0:
            self.extra_generation_params["Hires upscale"] = self.hr_scale
            self.hr_upscale_to_x = int(self.width * self.hr_scale)
            self.hr_upscale_to_y = int(self.height * self.hr_scale)
            return
        self.extra_generation_params["Hires resize"] = f"{self.hr_resize_x}x{self.hr_resize_y}"
        by_width = (self.hr_resize_x, self.hr_resize_x * self.height // self.width)
        by_height = (self.hr_resize_y * self.width // self.height, self.hr_resize_y)
        if self.hr_resize_y == 0:
            self.hr_upscale_to_x, self.hr_upscale_to_y = by_width
        elif self.hr_resize_x == 0:
            self.hr_upscale_to_x, self.hr_upscale_to_y = by_height
        else:
            # Cover the wanted size and cut off what is too much.
            wider = self.width / self.height < self.hr_resize_x / self.hr_resize_y
            self.hr_upscale_to_x, self.hr_upscale_to_y = by_width if wider else by_height
            self.truncate_x = (self.hr_upscale_to_x - self.hr_resize_x) // opt_f
            self.truncate_y = (self.hr_upscale_to_y - self.hr_resize_y) // opt_f

    def init(self, all_prompts: list, all_seeds: list, all_subseeds: list) -> None:
        if not self.enable_hr:
            return
        params = self.extra_generation_params
        params["Denoising strength"] = self.denoising_strength
        if self.hr_checkpoint_name and self.hr_checkpoint_name != "Use same checkpoint":
            self.hr_checkpoint_info = sd_models.get_closet_checkpoint_match(self.hr_checkpoint_name)
            if self.hr_checkpoint_info is None:
                raise Exception(f"Could not find checkpoint with name {self.hr_checkpoint_name}")
            params["Hires checkpoint"] = self.hr_checkpoint_info.short_title
        seam.describe_hires(self)
        if self.hr_sampler_name is not None and self.hr_sampler_name != self.sampler_name:
            params["Hires sampler"] = self.hr_sampler_name
        params["Hires prompt"] = lambda p, index, prompt_text, **_: (
            None if p.all_hr_prompts[index] == prompt_text else p.all_hr_prompts[index])
        params["Hires negative prompt"] = lambda p, index, negative_prompt, **_: (
            None if p.all_hr_negative_prompts[index] == negative_prompt else p.all_hr_negative_prompts[index])
        params["Hires schedule type"] = None
        if self.hr_scheduler is None:
            self.hr_scheduler = self.scheduler

        modes = shared.latent_upscale_modes
        name = shared.latent_upscale_default_mode if self.hr_upscaler is None else self.hr_upscaler
        self.latent_scale_mode = modes.get(name)
        if self.latent_scale_mode is None and not any(x.name == name for x in shared.sd_upscalers):
            raise Exception(f"could not find upscaler named {self.hr_upscaler}")
        self.calculate_target_resolution()

        if not state.processing_has_refined_job_count:
            if state.job_count == -1:
                state.job_count = self.n_iter
            shared.total_tqdm.updateTotal((self.steps + (self.hr_second_pass_steps or self.steps)) * state.job_count)
            state.job_count *= 2
            state.processing_has_refined_job_count = True
        if self.hr_second_pass_steps:
            params["Hires steps"] = self.hr_second_pass_steps
        if self.hr_upscaler is not None:
            params["Hires upscaler"] = self.hr_upscaler

    # Sampling

    def sample(self, conditioning: Any, unconditional_conditioning: Any, seeds: list, subseeds: list,
               subseed_strength: float, prompts: list) -> Any:
        self.sampler = sd_samplers.create_sampler(self.sampler_name, self.sd_model)
        x = self.rng.next()
        seam.before_sampling(self)
        if self.scripts is not None:
            self.scripts.process_before_every_sampling(p=self, x=x, noise=x, c=conditioning,
                                                       uc=unconditional_conditioning)
        x = seam.replaced_noise(self, x)
        samples = self.sampler.sample(self, x, conditioning, unconditional_conditioning,
                                      image_conditioning=self.txt2img_image_conditioning(x))
        if not self.enable_hr:
            return samples
        devices.torch_gc()
        decoded = None
        if self.latent_scale_mode is None:
            decoded = torch.stack(decode_latent_batch(self.sd_model, samples, target_device=devices.cpu)).float()
        with sd_models.SkipWritingToConfig():
            seam.load_hires_model(self)
        return self.sample_hr_pass(samples, decoded, seeds, subseeds, subseed_strength, prompts)

    def _upscale(self, samples: Any, decoded: Any) -> tuple:
        """The first pass at the second one's size: in latent space, or through pixels with an upscaler."""
        width, height = self.hr_upscale_to_x, self.hr_upscale_to_y
        if self.latent_scale_mode is not None:
            samples = torch.nn.functional.interpolate(samples, size=(height // opt_f, width // opt_f),
                                                      **self.latent_scale_mode)
            if getattr(self, "inpainting_mask_weight", opts.inpainting_mask_weight) < 1.0:
                return samples, self.img2img_image_conditioning(decode_first_stage(self.sd_model, samples), samples)
            return samples, self.txt2img_image_conditioning(samples, width, height)
        resized = []
        for pixels in torch.clamp((decoded + 1.0) / 2.0, 0.0, 1.0):
            array = np.moveaxis(255.0 * pixels.cpu().numpy(), 0, 2).astype(np.uint8)
            image = Image.fromarray(array)
            image = images.resize_image(0, image, width, height, upscaler_name=self.hr_upscaler)
            resized.append(_to_tensor(image))
        pixels = torch.stack(resized).to(shared.device, dtype=devices.dtype_vae)
        samples = images_tensor_to_samples(pixels)
        return samples, self.img2img_image_conditioning(pixels * 2.0 - 1.0, samples)

    def sample_hr_pass(self, samples: Any, decoded_samples: Any, seeds: list, subseeds: list,
                       subseed_strength: float, prompts: list) -> Any:
        if state.interrupted:
            return samples
        self.is_hr_pass = True
        self.sampler = sd_samplers.create_sampler(self.hr_sampler_name or self.sampler_name, self.sd_model)
        samples, image_conditioning = self._upscale(samples, decoded_samples)
        state.nextjob()

        top, left = self.truncate_y // 2, self.truncate_x // 2
        bottom = samples.shape[2] - (self.truncate_y + 1) // 2
        right = samples.shape[3] - (self.truncate_x + 1) // 2
        samples = samples[:, :, top:bottom, left:right]
        self.rng = rng.ImageRNG(samples.shape[1:], self.seeds)
        noise = self.rng.next()
        devices.torch_gc()
        if not self.disable_extra_networks:
            with devices.autocast():
                extra_networks.activate(self, self.hr_extra_network_data)
        with devices.autocast():
            self.calculate_hr_conds()
        noise = seam.before_hires_sampling(self, samples, noise)
        steps = self.hr_second_pass_steps or self.steps
        samples = self.sampler.sample_img2img(self, samples, noise, self.hr_c, self.hr_uc, steps=steps,
                                              image_conditioning=image_conditioning)
        seam.after_hires_sampling(self)
        self.sampler = None
        devices.torch_gc()
        decoded = decode_latent_batch(self.sd_model, samples, target_device=devices.cpu, check_for_nans=True)
        self.is_hr_pass = False
        return decoded

    # Prompts of the second pass

    def close(self) -> None:
        super().close()
        self.hr_c = None
        self.hr_uc = None

    def setup_prompts(self) -> None:
        super().setup_prompts()
        if not self.enable_hr:
            return
        self.hr_prompt = self.hr_prompt or self.prompt
        self.hr_negative_prompt = self.hr_negative_prompt or self.negative_prompt
        count = self.batch_size * self.n_iter
        prompts = self.hr_prompt if isinstance(self.hr_prompt, list) else [self.hr_prompt] * count
        negatives = self.hr_negative_prompt
        negatives = negatives if isinstance(negatives, list) else [negatives] * count
        self.all_hr_prompts, self.all_hr_negative_prompts = list(prompts), list(negatives)

    def calculate_hr_conds(self) -> None:
        if self.hr_c is not None:
            return
        size = {"width": self.hr_upscale_to_x, "height": self.hr_upscale_to_y}
        prompts = prompt_parser.SdConditioning(self.hr_prompts, **size)
        negatives = prompt_parser.SdConditioning(self.hr_negative_prompts, is_negative_prompt=True, **size)
        config = sd_samplers.find_sampler_config(self.hr_sampler_name or self.sampler_name)
        steps = self.hr_second_pass_steps or self.steps
        total_steps = config.total_steps(steps) if config else steps
        first, networks = self.firstpass_steps, self.hr_extra_network_data
        self.hr_uc = None
        if seam.needs_uncond(seam.hires_cfg_scale(self)):
            self.hr_uc = self.get_conds_with_caching(prompt_parser.get_learned_conditioning, negatives, first,
                                                     [self.cached_hr_uc, self.cached_uc], networks, total_steps)
        self.hr_c = self.get_conds_with_caching(prompt_parser.get_multicond_learned_conditioning, prompts, first,
                                                [self.cached_hr_c, self.cached_c], networks, total_steps)

    def setup_conds(self) -> None:
        if self.is_hr_pass:
            # The refiner asks, in the middle of the second pass, whose conditionings alone are needed.
            self.hr_c = None
            self.calculate_hr_conds()
            return
        super().setup_conds()
        self.hr_uc = None
        self.hr_c = None
        if self.enable_hr and self.hr_checkpoint_info is None:
            seam.early_hires_conds(self)

    def get_conds(self) -> tuple:
        return (self.hr_c, self.hr_uc) if self.is_hr_pass else super().get_conds()

    def parse_extra_network_prompts(self) -> None:
        super().parse_extra_network_prompts()
        if self.enable_hr:
            part = slice(self.iteration * self.batch_size, (self.iteration + 1) * self.batch_size)
            self.hr_negative_prompts = self.all_hr_negative_prompts[part]
            self.hr_prompts, self.hr_extra_network_data = extra_networks.parse_prompts(self.all_hr_prompts[part])
