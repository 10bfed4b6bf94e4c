"""Checkpoints, and the engine of the one that is loaded. A change of checkpoint always makes a new engine."""

from __future__ import annotations

import gc
from typing import Any

import torch

from backend import memory_management
from backend.args import dynamic_args
from backend.loader import forge_loader
from backend.utils import load_torch_file
from common.host.checkpoint_list import (  # noqa: F401
    CheckpointInfo, SkipWritingToConfig, checkpoint_aliases, checkpoint_tiles, checkpoints_list,
    get_closet_checkpoint_match, list_models, model_hash, model_path, select_checkpoint,
)
from modules import script_callbacks, shared


class FakeInitialModel:
    """What ``shared.sd_model`` is before the first job."""

    cond_stage_model = None


class SdModelData:
    def __init__(self) -> None:
        self.sd_model: Any = FakeInitialModel()
        self.forge_loading_parameters: dict[str, Any] = {}
        self.forge_hash = ""
        self.need_global_unload = False

    def get_sd_model(self) -> Any:
        return self.sd_model

    def set_sd_model(self, v: Any) -> None:
        self.sd_model = v


model_data = SdModelData()


def read_state_dict(checkpoint_file: str, print_global_state: bool = False, map_location: Any = None) -> dict:
    return load_torch_file(checkpoint_file)


def get_empty_cond(sd_model: Any) -> None:
    pass


def send_model_to_cpu(m: Any) -> None:
    pass


def send_model_to_device(m: Any) -> None:
    pass


def load_model(checkpoint_info: Any = None, already_loaded_state_dict: Any = None) -> None:
    """Does nothing, as in the real host; jobs load the model."""


def reload_model_weights(sd_model: Any = None, info: Any = None, forced_reload: bool = False) -> None:
    """Does nothing, as in the real host."""


def apply_token_merging(sd_model: Any, token_merging_ratio: float) -> None:
    """Merges tokens by a patch on a clone of the UNet's patcher."""
    if token_merging_ratio <= 0:
        return

    def merge(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, extra_options: dict) -> tuple:
        kept = max(1, int(k.shape[1] * (1 - token_merging_ratio)))
        rest = k[:, kept - 1 :].mean(1, keepdim=True)
        shorter = torch.cat([k[:, : kept - 1], rest], 1)
        return q, shorter, shorter

    unet = sd_model.forge_objects.unet.clone()
    unet.set_model_attn1_patch(merge)
    sd_model.forge_objects.unet = unet


@torch.inference_mode()
def forge_model_reload() -> tuple[Any, bool]:
    """Loads what the loading parameters say, unless it is what is loaded; says whether it did."""
    wanted = str({k: getattr(v, "filename", v) for k, v in model_data.forge_loading_parameters.items()})
    if model_data.forge_hash == wanted:
        return model_data.sd_model, False
    info = model_data.forge_loading_parameters.get("checkpoint_info")
    if info is None:
        raise ValueError("You do not have any model! Please download at least one model.")
    if model_data.sd_model:
        model_data.sd_model = None
        memory_management.unload_all_models()
        gc.collect()
    dynamic_args["forge_unet_storage_dtype"] = model_data.forge_loading_parameters.get("unet_storage_dtype")
    sd_model = forge_loader(info.filename)
    sd_model.extra_generation_params = {}
    sd_model.comments = []
    sd_model.sd_checkpoint_info = info
    sd_model.filename = info.filename
    sd_model.sd_model_hash = info.calculate_shorthash()
    shared.opts.data["sd_checkpoint_hash"] = info.sha256
    model_data.set_sd_model(sd_model)
    script_callbacks.model_loaded_callback(sd_model)
    model_data.forge_hash = wanted
    return sd_model, True
