"""The places where this host's jobs differ from A1111's: fresh patchers for every pass, and the model by parameters."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

import standin_flavour as flavour
from backend import memory_management
from modules import sd_models, shared
from modules_forge import main_entry


@dataclass(repr=False)
class BaseFields:
    distilled_cfg_scale: float = 3.5


@dataclass(repr=False)
class Txt2ImgFields:
    hr_additional_modules: list = field(default=None)
    hr_cfg: float = 1.0


class Img2ImgFields:
    """No fields beyond the common ones."""


def prepare(p: Any) -> None:
    p.extra_result_images = []
    p.latents_after_sampling = []
    p.modified_noise = None


# Settings and models


def apply_override_settings(p: Any) -> None:
    if sd_models.checkpoint_aliases.get(p.override_settings.get("sd_model_checkpoint")) is None:
        p.override_settings.pop("sd_model_checkpoint", None)
    flavour.set_config(p.override_settings, is_api=True, run_callbacks=False, save_config=False)
    _model, just_loaded = sd_models.forge_model_reload()
    if sd_models.model_data.need_global_unload:
        if not just_loaded:
            memory_management.unload_all_models()
        _clear_prompt_cache(p)
    sd_models.model_data.need_global_unload = False


def _clear_prompt_cache(p: Any) -> None:
    from modules.processing import StableDiffusionProcessing as Base

    p.cached_c, p.cached_uc = [None, None], [None, None]
    Base.cached_c, Base.cached_uc = [None, None], [None, None]


def restore_settings(p: Any, stored: dict[str, Any]) -> None:
    if p.override_settings_restore_afterwards:
        flavour.set_config(stored, save_config=False)


def ensure_model(p: Any) -> None:
    """Also gives every batch the patchers as they were before any extension touched them."""
    sd_models.forge_model_reload()
    p.sd_model.forge_objects = p.sd_model.forge_objects_original.shallow_copy()


def load_hires_model(p: Any) -> None:
    first_checkpoint = shared.opts.sd_model_checkpoint
    reload = False
    # The host looks into the list without asking whether there is one, so an API request without it fails here.
    if "Use same choices" not in p.hr_additional_modules:
        raise ValueError("this host has no other modules")
    if p.hr_checkpoint_name and p.hr_checkpoint_name != "Use same checkpoint":
        reload |= main_entry.checkpoint_change(p.hr_checkpoint_name, save=False, refresh=False)
    if reload:
        try:
            main_entry.refresh_model_loading_parameters()
            sd_models.forge_model_reload()
        finally:
            main_entry.checkpoint_change(first_checkpoint, save=False, refresh=False)
            main_entry.refresh_model_loading_parameters()


def is_inpainting(sd_model: Any) -> bool:
    return sd_model.is_inpaint


@contextlib.contextmanager
def inference(p: Any) -> Iterator[None]:
    with torch.inference_mode():
        yield


# Comments


def clear_comments(p: Any) -> None:
    p.sd_model.comments = []
    p.sd_model.extra_generation_params = {}


def comment(p: Any, text: str) -> None:
    p.sd_model.comments.append(text)


def collect_comments(p: Any) -> None:
    p.extra_generation_params.update(p.sd_model.extra_generation_params)
    for text in p.sd_model.comments:
        p.comment(text)


# Stations of a job


def _fresh_patchers(p: Any) -> None:
    p.sd_model.forge_objects = p.sd_model.forge_objects_after_applying_lora.shallow_copy()


def networks_activated(p: Any) -> None:
    _fresh_patchers(p)


def needs_uncond(cfg_scale: float) -> bool:
    return cfg_scale != 1


def hires_cfg_scale(p: Any) -> float:
    return p.hr_cfg


def before_sampling(p: Any) -> None:
    _fresh_patchers(p)
    sd_models.apply_token_merging(p.sd_model, p.get_token_merging_ratio())


def replaced_noise(p: Any, noise: Any) -> Any:
    if p.modified_noise is None:
        return noise
    replaced, p.modified_noise = p.modified_noise, None
    return replaced


def before_init_images(p: Any, region: Any, mask: Any) -> None:
    if p.scripts is not None:
        p.scripts.before_process_init_images(p, {"crop_region": region, "image_mask": mask})


def describe_hires(p: Any) -> None:
    for index, name in enumerate(p.hr_additional_modules or []):
        p.extra_generation_params[f"Hires Module {index + 1}"] = name
    p.extra_generation_params["Hires CFG Scale"] = p.hr_cfg


def early_hires_conds(p: Any) -> None:
    from modules import extra_networks

    if not p.disable_extra_networks:
        extra_networks.activate(p, p.hr_extra_network_data)
    p.calculate_hr_conds()
    if not p.disable_extra_networks:
        extra_networks.activate(p, p.extra_network_data)


def before_hires_sampling(p: Any, samples: Any, noise: Any) -> Any:
    """The hook is called, its patches are thrown away, and it is called again."""
    def call() -> None:
        p.scripts.process_before_every_sampling(p, x=samples, noise=noise, c=p.hr_c, uc=p.hr_uc)

    if p.scripts is not None:
        p.scripts.before_hr(p)
        call()
    _fresh_patchers(p)
    sd_models.apply_token_merging(p.sd_model, p.get_token_merging_ratio(for_hr=True))
    if p.scripts is not None:
        call()
    return replaced_noise(p, noise)


def after_hires_sampling(p: Any) -> None:
    pass


def sampled(p: Any, samples: Any) -> None:
    p.latents_after_sampling.extend(samples)


def batch_decoded(p: Any) -> None:
    pass


def image_number(p: Any, index: int) -> int | None:
    return index + p.iteration * p.batch_size
