"""The places where this host's jobs differ from Forge's: loading models in place, one hook call before hires."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from modules import devices, lowvram, sd_hijack, sd_models, shared
from modules import extra_networks as _networks
from modules.shared import opts


class BaseFields:
    """No fields beyond the common ones."""


class Txt2ImgFields:
    """No fields beyond the common ones."""


class Img2ImgFields:
    """No fields beyond the common ones."""


def prepare(p: Any) -> None:
    pass


# Settings and models


def apply_override_settings(p: Any) -> None:
    # A checkpoint that does not exist is dropped from the overrides; without one, a model that the last job's refiner
    # left behind is swapped back here.
    if sd_models.checkpoint_aliases.get(p.override_settings.get("sd_model_checkpoint")) is None:
        p.override_settings.pop("sd_model_checkpoint", None)
        sd_models.reload_model_weights()
    for key, value in p.override_settings.items():
        opts.set(key, value, is_api=True, run_callbacks=False)
        if key == "sd_model_checkpoint":
            sd_models.reload_model_weights()
    sd_models.apply_token_merging(p.sd_model, p.get_token_merging_ratio())


def restore_settings(p: Any, stored: dict[str, Any]) -> None:
    sd_models.apply_token_merging(p.sd_model, 0)
    if p.override_settings_restore_afterwards:
        for key, value in stored.items():
            setattr(opts, key, value)


def ensure_model(p: Any) -> None:
    sd_models.reload_model_weights()


def load_hires_model(p: Any) -> None:
    sd_models.reload_model_weights(info=p.hr_checkpoint_info)


def is_inpainting(sd_model: Any) -> bool:
    return sd_model.model.conditioning_key in ("hybrid", "concat") or sd_model.is_sdxl_inpaint


@contextlib.contextmanager
def inference(p: Any) -> Iterator[None]:
    with torch.no_grad(), p.sd_model.ema_scope():
        yield


# Comments


def clear_comments(p: Any) -> None:
    sd_hijack.model_hijack.clear_comments()


def comment(p: Any, text: str) -> None:
    sd_hijack.model_hijack.comments.append(text)


def collect_comments(p: Any) -> None:
    p.extra_generation_params.update(sd_hijack.model_hijack.extra_generation_params)
    for text in sd_hijack.model_hijack.comments:
        p.comment(text)


# Stations of a job


def networks_activated(p: Any) -> None:
    pass


def needs_uncond(cfg_scale: float) -> bool:
    return True


def hires_cfg_scale(p: Any) -> float:
    return p.cfg_scale


def before_sampling(p: Any) -> None:
    pass


def replaced_noise(p: Any, noise: Any) -> Any:
    return noise


def before_init_images(p: Any, region: Any, mask: Any) -> None:
    pass


def describe_hires(p: Any) -> None:
    pass


def early_hires_conds(p: Any) -> None:
    """With lowvram the text encoder is unloaded by the time of the second pass, so its prompts come first."""
    if lowvram.is_enabled(shared.sd_model) and shared.sd_model.sd_checkpoint_info == sd_models.select_checkpoint():
        with devices.autocast():
            _networks.activate(p, p.hr_extra_network_data)
        p.calculate_hr_conds()
        with devices.autocast():
            _networks.activate(p, p.extra_network_data)


def before_hires_sampling(p: Any, samples: Any, noise: Any) -> Any:
    sd_models.apply_token_merging(p.sd_model, p.get_token_merging_ratio(for_hr=True))
    if p.scripts is not None:
        p.scripts.before_hr(p)
        p.scripts.process_before_every_sampling(p=p, x=samples, noise=noise, c=p.hr_c, uc=p.hr_uc)
    return noise


def after_hires_sampling(p: Any) -> None:
    sd_models.apply_token_merging(p.sd_model, p.get_token_merging_ratio())


def sampled(p: Any, samples: Any) -> None:
    pass


def batch_decoded(p: Any) -> None:
    if lowvram.is_enabled(shared.sd_model):
        lowvram.send_everything_to_cpu()


def image_number(p: Any, index: int) -> int | None:
    return None
