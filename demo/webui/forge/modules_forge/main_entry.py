"""Choosing the model: what the bar above the page sets, and what loading goes by."""

from __future__ import annotations

import os
from typing import Any

import torch

from backend import memory_management, stream
from backend.args import dynamic_args
from modules import infotext_utils, processing, sd_models, shared

forge_unet_storage_dtype_options: dict[str, tuple[Any, bool]] = {
    "Automatic": (None, False),
    "Automatic (fp16 LoRA)": (None, True),
    "float8-e4m3fn": (torch.float8_e4m3fn, False),
    "float8-e4m3fn (fp16 LoRA)": (torch.float8_e4m3fn, True),
}
module_list: dict[str, str] = {}


def refresh_models() -> tuple[list[str], Any]:
    shared.refresh_checkpoints()
    return shared.list_checkpoint_tiles(shared.opts.sd_checkpoint_dropdown_use_short), module_list.keys()


def refresh_memory_management_settings(async_loading: str | None = None, inference_memory: int | None = None,
                                       pin_shared_memory: str | None = None, model_memory: int | None = None) -> None:
    for key, value in (("async_loading", async_loading), ("inference_memory", inference_memory),
                       ("pin_shared_memory", pin_shared_memory)):
        if value is not None:
            shared.opts.set(f"forge_{key}", value)
    stream.stream_activated = shared.opts.forge_async_loading == "Async"
    memory_management.current_inference_memory = shared.opts.forge_inference_memory * 1024 * 1024
    processing.need_global_unload = True


def refresh_model_loading_parameters() -> None:
    """What is written here is loaded at the next job, if it differs from what is loaded."""
    storage, online_lora = forge_unet_storage_dtype_options.get(shared.opts.forge_unet_storage_dtype, (None, False))
    dynamic_args["online_lora"] = online_lora
    sd_models.model_data.forge_loading_parameters = {
        "checkpoint_info": sd_models.select_checkpoint(),
        "additional_modules": shared.opts.forge_additional_modules,
        "unet_storage_dtype": storage,
    }
    processing.need_global_unload = True


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


def modules_change(module_values: list[str], save: bool = True, refresh: bool = True) -> bool:
    wanted = [module_list[os.path.basename(x)] for x in module_values if os.path.basename(x) in module_list]
    if sorted(wanted) == sorted(shared.opts.data.get("forge_additional_modules", [])):
        return False
    shared.opts.set("forge_additional_modules", wanted)
    if save:
        shared.opts.save(shared.config_filename)
    if refresh:
        refresh_model_loading_parameters()
    return True


def get_a1111_ui_component(tab: str, label: str) -> Any:
    for field in infotext_utils.paste_fields[tab]["fields"]:
        if label in (field.label, field.api):
            return field.component
    return None
