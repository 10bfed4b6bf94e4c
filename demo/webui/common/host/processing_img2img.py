"""img2img and inpainting, also of the masked region only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps

import standin_processing as seam
from common.host.processing_base import StableDiffusionProcessing, opt_f
from modules import devices, images, masking, rng, scripts, sd_samplers, shared
from modules.sd_samplers_common import images_tensor_to_samples
from modules.shared import opts


def create_binary_mask(image: Image.Image, round: bool = True) -> Image.Image:
    """The alpha channel when it says anything, else the brightness; black and white only, unless not rounded."""
    if image.mode == "RGBA" and image.getextrema()[-1] != (255, 255):
        mask = image.split()[-1].convert("L")
        return mask.point(lambda x: 255 if x > 128 else 0) if round else mask
    return image.convert("L")


def apply_overlay(image: Image.Image, paste_loc: tuple | None, overlay: Image.Image | None) -> tuple:
    """Puts the generated region back into its image; returns the result and the image before the overlay."""
    if overlay is None:
        return image, image.copy()
    if paste_loc is not None:
        x, y, width, height = paste_loc
        base = Image.new("RGBA", overlay.size)
        base.paste(images.resize_image(1, image, width, height), (x, y))
        image = base
    original = image.copy()
    image = image.convert("RGBA")
    image.alpha_composite(overlay)
    return image.convert("RGB"), original


@dataclass(repr=False)
class StableDiffusionProcessingImg2Img(StableDiffusionProcessing, seam.Img2ImgFields):
    init_images: list = None
    resize_mode: int = 0
    denoising_strength: float = 0.75
    image_cfg_scale: float = None
    mask: Any = None
    mask_blur_x: int = 4
    mask_blur_y: int = 4
    mask_blur: int = None
    mask_round: bool = True
    inpainting_fill: int = 0
    inpaint_full_res: bool = True
    inpaint_full_res_padding: int = 0
    inpainting_mask_invert: int = 0
    initial_noise_multiplier: float = None
    latent_mask: Any = None
    force_task_id: str = None

    image_mask: Any = field(default=None, init=False)
    nmask: Any = field(default=None, init=False)
    image_conditioning: Any = field(default=None, init=False)
    mask_for_overlay: Any = field(default=None, init=False)
    init_latent: Any = field(default=None, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.image_mask = self.mask
        self.mask = None
        if self.initial_noise_multiplier is None:
            self.initial_noise_multiplier = opts.initial_noise_multiplier

    @property
    def mask_blur(self) -> int | None:
        return self.mask_blur_x if self.mask_blur_x == self.mask_blur_y else None

    @mask_blur.setter
    def mask_blur(self, value: Any) -> None:
        if isinstance(value, int):
            self.mask_blur_x = self.mask_blur_y = value

    def _prepare_mask(self) -> tuple[Image.Image | None, tuple | None]:
        """The mask at generation size, and the region to generate when only the masked part is wanted."""
        mask = create_binary_mask(self.image_mask, round=self.mask_round)
        if self.inpainting_mask_invert:
            mask = ImageOps.invert(mask)
            self.extra_generation_params["Mask mode"] = "Inpaint not masked"
        if self.mask_blur_x > 0 or self.mask_blur_y > 0:
            mask = mask.filter(ImageFilter.GaussianBlur(max(self.mask_blur_x, self.mask_blur_y)))
            self.extra_generation_params["Mask blur"] = self.mask_blur
        if not self.inpaint_full_res:
            mask = images.resize_image(self.resize_mode, mask, self.width, self.height)
            self.mask_for_overlay = mask.point(lambda x: min(255, x * 2))
            return mask, None
        self.mask_for_overlay = mask
        region = masking.get_crop_region_v2(mask, self.inpaint_full_res_padding)
        if region is None:
            self.mask_for_overlay = None
            self.inpaint_full_res = False
            seam.comment(self, 'Unable to perform "Inpaint Only mask" because mask is blank, '
                               "switch to img2img mode.")
            return None, None
        region = masking.expand_crop_region(region, self.width, self.height, mask.width, mask.height)
        x1, y1, x2, y2 = region
        self.paste_to = (x1, y1, x2 - x1, y2 - y1)
        self.extra_generation_params["Inpaint area"] = "Only masked"
        self.extra_generation_params["Masked area padding"] = self.inpaint_full_res_padding
        return images.resize_image(2, mask.crop(region), self.width, self.height), region

    def _prepare_image(self, image: Image.Image, mask: Image.Image | None, region: tuple | None) -> np.ndarray:
        image = images.flatten(image, opts.img2img_background_color)
        if region is None and self.resize_mode != 3:
            image = images.resize_image(self.resize_mode, image, self.width, self.height)
        if mask is not None:
            if self.mask_for_overlay.size != image.size:
                self.mask_for_overlay = images.resize_image(self.resize_mode, self.mask_for_overlay, *image.size)
            kept = Image.new("RGBa", image.size)
            kept.paste(image.convert("RGBA").convert("RGBa"), mask=ImageOps.invert(self.mask_for_overlay.convert("L")))
            self.overlay_images.append(kept.convert("RGBA"))
        if region is not None:
            image = images.resize_image(2, image.crop(region), self.width, self.height)
        if mask is not None and self.inpainting_fill != 1:
            image = masking.fill(image, self.latent_mask if self.latent_mask is not None else mask)
            if self.inpainting_fill == 0:
                self.extra_generation_params["Masked content"] = "fill"
        return np.moveaxis(np.array(image).astype(np.float32) / 255.0, 2, 0)

    def init(self, all_prompts: list, all_seeds: list, all_subseeds: list) -> None:
        self.extra_generation_params["Denoising strength"] = self.denoising_strength
        self.image_cfg_scale = None
        self.sampler = sd_samplers.create_sampler(self.sampler_name, self.sd_model)
        mask, region = (None, None)
        if self.image_mask is not None:
            self.overlay_images = []
            mask, region = self._prepare_mask()
        seam.before_init_images(self, region, mask)
        arrays = [self._prepare_image(image, mask, region) for image in self.init_images]

        if len(arrays) == 1:
            batch = np.repeat(arrays[0][None], self.batch_size, axis=0)
            if self.overlay_images is not None:
                self.overlay_images = self.overlay_images * self.batch_size
        elif len(arrays) <= self.batch_size:
            self.batch_size = len(arrays)
            batch = np.array(arrays)
        else:
            raise RuntimeError(f"bad number of images passed: {len(arrays)}; expecting {self.batch_size} or less")

        pixels = torch.from_numpy(batch).to(shared.device, dtype=devices.dtype_vae)
        self.init_latent = images_tensor_to_samples(pixels, self.sd_model)
        if self.resize_mode == 3:
            size = (self.height // opt_f, self.width // opt_f)
            self.init_latent = torch.nn.functional.interpolate(self.init_latent, size=size, mode="bilinear")
        if mask is not None:
            self._prepare_latent_mask(self.latent_mask if self.latent_mask is not None else mask, all_seeds)
        self.image_conditioning = self.img2img_image_conditioning(pixels * 2 - 1, self.init_latent, mask,
                                                                  self.mask_round)

    def _prepare_latent_mask(self, mask: Image.Image, all_seeds: list) -> None:
        height, width = self.init_latent.shape[2:]
        small = np.array(mask.convert("L").resize((width, height)), dtype=np.float32) / 255.0
        small = np.around(small) if self.mask_round else small
        tiled = torch.from_numpy(np.tile(small[None], (self.init_latent.shape[1], 1, 1)))
        self.nmask = tiled.to(shared.device, devices.dtype)
        self.mask = 1.0 - self.nmask
        if self.inpainting_fill == 2:
            noise = rng.ImageRNG(self.init_latent.shape[1:], all_seeds[: self.init_latent.shape[0]]).next()
            self.init_latent = self.init_latent * self.mask + noise * self.nmask
            self.extra_generation_params["Masked content"] = "latent noise"
        elif self.inpainting_fill == 3:
            self.init_latent = self.init_latent * self.mask
            self.extra_generation_params["Masked content"] = "latent nothing"

    def sample(self, conditioning: Any, unconditional_conditioning: Any, seeds: list, subseeds: list,
               subseed_strength: float, prompts: list) -> Any:
        x = self.rng.next()
        if self.initial_noise_multiplier != 1.0:
            self.extra_generation_params["Noise multiplier"] = self.initial_noise_multiplier
            x = x * self.initial_noise_multiplier
        seam.before_sampling(self)
        if self.scripts is not None:
            self.scripts.process_before_every_sampling(p=self, x=self.init_latent, noise=x, c=conditioning,
                                                       uc=unconditional_conditioning)
        x = seam.replaced_noise(self, x)
        samples = self.sampler.sample_img2img(self, self.init_latent, x, conditioning, unconditional_conditioning,
                                              image_conditioning=self.image_conditioning)
        if self.mask is not None:
            blended = samples * self.nmask + self.init_latent * self.mask
            if self.scripts is not None:
                args = scripts.MaskBlendArgs(samples, self.nmask, self.init_latent, self.mask, blended)
                self.scripts.on_mask_blend(self, args)
                blended = args.blended_latent
            samples = blended
        devices.torch_gc()
        return samples

    def get_token_merging_ratio(self, for_hr: bool = False) -> float:
        overridden = "token_merging_ratio" in self.override_settings and opts.token_merging_ratio
        return (self.token_merging_ratio or overridden or opts.token_merging_ratio_img2img
                or opts.token_merging_ratio)
