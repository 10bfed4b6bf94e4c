"""The result of a job, and the infotext of an image."""

from __future__ import annotations

import json
from typing import Any

import standin_flavour as flavour
from common.infotext_parse import quote
from modules import devices, errors
from modules.shared import opts, state


def program_version() -> str | None:
    import launch

    version = launch.git_tag()
    return None if version == "<none>" else version


def create_infotext(p: Any, all_prompts: list[str], all_seeds: list[int], all_subseeds: list[int],
                    comments: Any = None, iteration: int = 0, position_in_batch: int = 0,
                    use_main_prompt: bool = False, index: int | None = None,
                    all_negative_prompts: list[str] | None = None) -> str:
    """The text stored with an image.

    ``p.extra_generation_params`` may hold plain values, lists with one entry per image, and functions, which are
    called with everything this function knows. One that fails is reported and left out.
    """
    if use_main_prompt:
        index = 0
    elif index is None:
        index = position_in_batch + iteration * p.batch_size
    if all_negative_prompts is None:
        all_negative_prompts = p.all_negative_prompts

    clip_skip = int(getattr(p, "clip_skip", opts.CLIP_stop_at_last_layers))
    ratio, ratio_hr = p.get_token_merging_ratio(), p.get_token_merging_ratio(for_hr=True)
    prompt_text = p.main_prompt if use_main_prompt else all_prompts[index]
    negative_prompt = p.main_negative_prompt if use_main_prompt else all_negative_prompts[index]
    mask_weight = getattr(p, "inpainting_mask_weight", opts.inpainting_mask_weight)

    generation_params: dict[str, Any] = {
        "Steps": p.steps,
        "Sampler": p.sampler_name,
        "Schedule type": p.scheduler,
        "CFG scale": p.cfg_scale,
        "Seed": p.all_seeds[0] if use_main_prompt else all_seeds[index],
        "Size": f"{p.width}x{p.height}",
        "Model hash": p.sd_model_hash if opts.add_model_hash_to_info else None,
        "Model": p.sd_model_name if opts.add_model_name_to_info else None,
        "FP8 weight": opts.fp8_storage if devices.fp8 else None,
        "Cache FP16 weight for LoRA": opts.cache_fp16_weight if devices.fp8 else None,
        "Denoising strength": p.extra_generation_params.get("Denoising strength"),
        "Conditional mask weight": mask_weight if p.is_using_inpainting_conditioning else None,
        "Clip skip": None if clip_skip <= 1 else clip_skip,
        "Token merging ratio": None if ratio == 0 else ratio,
        "Token merging ratio hr": ratio_hr if getattr(p, "enable_hr", False) and ratio_hr else None,
        "RNG": "CPU",
        **flavour.infotext_entries(p),
        **p.extra_generation_params,
        "Version": program_version() if opts.add_version_to_infotext else None,
        "User": p.user if opts.add_user_name_to_info else None,
    }
    for key, value in generation_params.items():
        try:
            if isinstance(value, list):
                generation_params[key] = value[index]
            elif callable(value):
                generation_params[key] = value(**locals())
        except Exception:
            errors.report(f'Error creating infotext for key "{key}"', exc_info=True)
            generation_params[key] = None

    pairs = [(k, v) for k, v in generation_params.items() if v is not None]
    line = ", ".join(k if k == v else f"{k}: {quote(v)}" for k, v in pairs)
    negative = f"\nNegative prompt: {negative_prompt}" if negative_prompt else ""
    return f"{prompt_text}{negative}\n{line}".strip()


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) else value


class Processed:
    """Images and everything that was used to make them."""

    _JS_FIELDS = (
        "negative_prompt", "seed", "all_seeds", "subseed", "all_subseeds", "subseed_strength", "width", "height",
        "sampler_name", "cfg_scale", "steps", "batch_size", "restore_faces", "sd_model_name", "sd_model_hash",
        "denoising_strength", "extra_generation_params", "index_of_first_image", "infotexts", "styles",
        "job_timestamp", "clip_skip", "is_using_inpainting_conditioning", "version",
    )

    def __init__(self, p: Any, images_list: list, seed: Any = -1, info: str = "", subseed: Any = None,
                 all_prompts: list | None = None, all_negative_prompts: list | None = None,
                 all_seeds: list | None = None, all_subseeds: list | None = None, index_of_first_image: int = 0,
                 infotexts: list[str] | None = None, comments: str = "", extra_images_list: list | None = None) -> None:
        self.images = images_list
        self.extra_images = extra_images_list or []
        self.prompt = _first(p.prompt)
        self.negative_prompt = _first(p.negative_prompt)
        self.seed = int(_first(seed)) if seed is not None else -1
        self.subseed = int(_first(subseed)) if subseed is not None else -1
        self.info = info
        self.comments = "".join(f"{comment}\n" for comment in p.comments)
        for name in ("subseed_strength", "width", "height", "sampler_name", "cfg_scale", "steps", "batch_size",
                     "restore_faces", "sd_model_name", "sd_model_hash", "extra_generation_params", "styles",
                     "is_using_inpainting_conditioning"):
            setattr(self, name, getattr(p, name))
        self.denoising_strength = getattr(p, "denoising_strength", None)
        self.index_of_first_image = index_of_first_image
        self.job_timestamp = state.job_timestamp
        self.clip_skip = int(opts.CLIP_stop_at_last_layers)
        self.all_prompts = all_prompts or p.all_prompts or [self.prompt]
        self.all_negative_prompts = all_negative_prompts or p.all_negative_prompts or [self.negative_prompt]
        self.all_seeds = all_seeds or p.all_seeds or [self.seed]
        self.all_subseeds = all_subseeds or p.all_subseeds or [self.subseed]
        self.infotexts = infotexts or [info] * len(images_list)
        self.version = program_version()

    def js(self) -> str:
        values: dict[str, Any] = {"prompt": self.all_prompts[0], "all_prompts": self.all_prompts}
        values.update({name: getattr(self, name) for name in self._JS_FIELDS})
        values["negative_prompt"] = self.all_negative_prompts[0]
        values["all_negative_prompts"] = self.all_negative_prompts
        return json.dumps(values, default=lambda o: None)

    def infotext(self, p: Any, index: int) -> str:
        return create_infotext(p, self.all_prompts, self.all_seeds, self.all_subseeds, comments=[],
                               position_in_batch=index % self.batch_size, iteration=index // self.batch_size)
