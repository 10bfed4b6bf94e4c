"""The host's own settings, as far as its code or extensions read them."""

from __future__ import annotations

import os
from typing import Any

import standin_flavour as flavour
from modules.options import OptionInfo, options_section
from modules.paths_internal import default_output_dir

options_templates: dict[str, OptionInfo] = {}


def _section(identifier: tuple, **values: Any) -> None:
    infos = {k: v if isinstance(v, OptionInfo) else OptionInfo(v, k) for k, v in values.items()}
    options_templates.update(options_section(identifier, infos))


_section(
    ("saving-images", "Saving images/grids"),
    samples_save=True, samples_format="png", grid_save=True, grid_format="png", grid_only_if_multiple=True,
    return_grid=True, enable_pnginfo=True,
    save_incomplete_images=False,
)
_section(
    ("saving-paths", "Paths for saving"),
    outdir_samples="",
    **{f"outdir_{kind}_{what}": os.path.join(default_output_dir, f"{kind}-{folder}")
       for kind in ("txt2img", "img2img") for what, folder in (("samples", "images"), ("grids", "grids"))},
)
_section(
    ("sd", "Stable Diffusion"),
    sd_model_checkpoint=OptionInfo(None, "Stable Diffusion checkpoint", infotext="Model hash"),
    sd_checkpoint_hash="", sd_checkpoints_limit=1, sd_checkpoints_keep_in_cpu=True,
    CLIP_stop_at_last_layers=OptionInfo(1, "Clip skip", infotext="Clip skip"), emphasis="Original", tiling=False,
    sd_vae="Automatic", enable_quantization=True, face_restoration=False, sdxl_crop_top=0, sdxl_crop_left=0,
)
_section(
    ("img2img", "img2img"),
    inpainting_mask_weight=1.0, initial_noise_multiplier=1.0, img2img_fix_steps=False,
    img2img_background_color="#ffffff",
)
_section(
    ("optimizations", "Optimizations"),
    batch_cond_uncond=True, fp8_storage="Disable", cache_fp16_weight=False, s_min_uncond=0.0,
    token_merging_ratio=OptionInfo(0.0, "Token merging ratio", infotext="Token merging ratio"),
    token_merging_ratio_img2img=0.0,
    token_merging_ratio_hr=OptionInfo(0.0, "Token merging ratio hr", infotext="Token merging ratio hr"),
    pad_cond_uncond=OptionInfo(False, "Pad prompt/negative prompt", infotext="Pad conds"),
)
_section(
    ("sampler-params", "Sampler parameters"),
    hide_samplers=[], eta_ddim=0.0, eta_ancestral=1.0, s_churn=0.0, s_tmin=0.0, s_tmax=0.0, s_noise=1.0,
)
_section(
    ("infotext", "Infotext"),
    add_model_hash_to_info=True, add_model_name_to_info=True, add_user_name_to_info=False,
    add_version_to_infotext=True, disable_weights_auto_swap=True, infotext_skip_pasting=[],
)
_section(
    ("ui", "User interface"),
    live_previews_enable=True, live_previews_image_format="png", show_progress_grid=True,
    show_progress_every_n_steps=10, live_preview_refresh_period=1000, send_seed=True, send_size=True,
)
if flavour.EXTRA_OPTIONS:
    _section((flavour.NAME, flavour.NAME), **flavour.EXTRA_OPTIONS)
