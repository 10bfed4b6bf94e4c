"""Choosing the model: what the bar above the page sets, and what loading goes by."""

from __future__ import annotations

from typing import Any

import torch

from backend.args import dynamic_args
from modules import sd_models, shared

forge_unet_storage_dtype_options: dict[str, tuple[Any, bool]] = {
    "Automatic": (None, False),
    "Automatic (fp16 LoRA)": (None, True),
    "float8-e4m3fn": (torch.float8_e4m3fn, False),
    "float8-e4m3fn (fp16 LoRA)": (torch.float8_e4m3fn, True),
}


def refresh_model_loading_parameters() -> None:
    """What is written here is loaded at the next job, if it differs from what is loaded."""
    storage, online_lora = forge_unet_storage_dtype_options.get(shared.opts.forge_unet_storage_dtype, (None, False))
    dynamic_args["online_lora"] = online_lora
    sd_models.model_data.forge_loading_parameters = {
        "checkpoint_info": sd_models.select_checkpoint(),
        "unet_storage_dtype": storage,
    }
    sd_models.model_data.need_global_unload = True


def checkpoint_change(ckpt_name: str, save: bool = True, refresh: bool = True) -> bool:
    """True if this is another checkpoint than the chosen one."""
    current = sd_models.get_closet_checkpoint_match(shared.opts.data.get("sd_model_checkpoint", ""))
    if sd_models.get_closet_checkpoint_match(ckpt_name) == current:
        return False
    shared.opts.set("sd_model_checkpoint", ckpt_name)
    if save:
        shared.opts.save(shared.config_filename)
    if refresh:
        refresh_model_loading_parameters()
    return True
