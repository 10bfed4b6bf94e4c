"""Checkpoints and the loaded models.

Loading another checkpoint of the same configuration writes its weights into the same objects; another configuration
makes a new model and empties the old one; and a checkpoint that is kept loaded is switched to without any callback.
"""

from __future__ import annotations

import threading
from typing import Any

import safetensors.torch
import torch

import standin_tome
from common.checkpoints import ModelConfig, read_config
from common.host.checkpoint_list import (  # noqa: F401
    CheckpointInfo, SkipWritingToConfig, checkpoint_aliases, checkpoint_tiles, checkpoints_list,
    get_closet_checkpoint_match, list_models, model_hash, model_path, select_checkpoint,
)
from common.nn.schedule import alphas_cumprod
from ldm.models.diffusion.ddpm import LatentDiffusion
from modules import devices, errors, extra_networks, lowvram, script_callbacks, shared
from sgm.models.diffusion import DiffusionEngine


def read_state_dict(checkpoint_file: str, print_global_state: bool = False, map_location: Any = None) -> dict:
    return safetensors.torch.load_file(checkpoint_file, device=str(map_location or "cpu"))


def get_checkpoint_state_dict(checkpoint_info: CheckpointInfo, timer: Any = None) -> dict:
    checkpoint_info.calculate_shorthash()
    return read_state_dict(checkpoint_info.filename)


def check_fp8(model: Any) -> bool | None:
    """Whether the settings ask for float8 storage of this model."""
    if model is None:
        return None
    wanted = shared.opts.fp8_storage
    return wanted == "Enable" or (wanted == "Enable for SDXL" and getattr(model, "is_sdxl", False))


def load_model_weights(model: Any, checkpoint_info: CheckpointInfo, state_dict: dict | None, timer: Any = None) -> None:
    """Copies the weights into the model and brings them to the number type they are kept in."""
    model_hash_text = checkpoint_info.calculate_shorthash()
    if devices.fp8:
        # Copying full-precision weights into float8 ones would round them.
        model.half()
    if not SkipWritingToConfig.skip:
        shared.opts.data["sd_model_checkpoint"] = checkpoint_info.title
    if state_dict is None:
        state_dict = get_checkpoint_state_dict(checkpoint_info)
    missing, unexpected = model.load_state_dict(state_dict, strict=False)
    if missing or unexpected:
        raise RuntimeError(f"{checkpoint_info.name} does not fit: missing {missing[:3]}, unexpected {unexpected[:3]}")

    # Never through the weights' number type: sigmas are computed from it.
    alphas = alphas_cumprod().to(model.alphas_cumprod.device)
    dtype = torch.float16 if not shared.cmd_opts.no_half else torch.float32
    model.to(dtype)
    devices.dtype_unet = dtype
    model.alphas_cumprod = alphas

    for module in model.modules():
        for name in ("fp16_weight", "fp16_bias"):
            if hasattr(module, name):
                delattr(module, name)
    devices.fp8 = bool(check_fp8(model))
    if devices.fp8:
        vae = model.first_stage_model
        model.first_stage_model = None
        for module in model.modules():
            if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
                if shared.opts.cache_fp16_weight:
                    module.fp16_weight = module.weight.data.clone().cpu().half()
                    if module.bias is not None:
                        module.fp16_bias = module.bias.data.clone().cpu().half()
                module.to(torch.float8_e4m3fn)
        model.first_stage_model = vae
    model.first_stage_model.to(devices.dtype_vae)
    model.sd_model_hash = model_hash_text
    model.sd_model_checkpoint = checkpoint_info.filename
    model.sd_checkpoint_info = checkpoint_info
    shared.opts.data["sd_checkpoint_hash"] = checkpoint_info.sha256


class SdModelData:
    def __init__(self) -> None:
        self.sd_model: Any = None
        self.loaded_sd_models: list[Any] = []
        self.was_loaded_at_least_once = False
        self.lock = threading.Lock()

    def get_sd_model(self) -> Any:
        """The first look at ``shared.sd_model`` loads the chosen checkpoint."""
        if self.was_loaded_at_least_once:
            return self.sd_model
        with self.lock:
            if self.sd_model is None and not self.was_loaded_at_least_once:
                try:
                    load_model()
                except Exception as e:
                    errors.display(e, "loading stable diffusion model", full_traceback=True)
                    self.sd_model = None
        return self.sd_model

    def set_sd_model(self, v: Any, already_loaded: bool = False) -> None:
        self.sd_model = v
        self.loaded_sd_models[:] = [x for x in self.loaded_sd_models if x is not v]
        if v is not None:
            self.loaded_sd_models.insert(0, v)


model_data = SdModelData()


def get_empty_cond(sd_model: Any) -> torch.Tensor:
    from modules import processing

    extra_networks.activate(processing.StableDiffusionProcessingTxt2Img(), {})
    cond = sd_model.get_learned_conditioning([""])
    return cond["crossattn"] if isinstance(cond, dict) else cond


def send_model_to_cpu(m: Any) -> None:
    if m is not None:
        if m.lowvram:
            lowvram.send_everything_to_cpu()
        else:
            m.to(devices.cpu)
    devices.torch_gc()


def send_model_to_device(m: Any) -> None:
    lowvram.apply(m)
    if not m.lowvram:
        m.to(shared.device)


def send_model_to_trash(m: Any) -> None:
    """The objects may still be held by someone; the memory is given back all the same."""
    m.to(device="meta")
    devices.torch_gc()


def instantiate(config: ModelConfig) -> Any:
    return DiffusionEngine(config) if config.family == "sdxl" else LatentDiffusion(config)


def load_model(checkpoint_info: CheckpointInfo | None = None, already_loaded_state_dict: dict | None = None) -> Any:
    checkpoint_info = checkpoint_info or select_checkpoint()
    if model_data.sd_model:
        send_model_to_trash(model_data.sd_model)
        model_data.sd_model = None
    state_dict = already_loaded_state_dict or get_checkpoint_state_dict(checkpoint_info)
    config = read_config(checkpoint_info.filename)
    sd_model = instantiate(config)
    sd_model.requires_grad_(False)
    sd_model.used_config = config.to_json()
    load_model_weights(sd_model, checkpoint_info, state_dict)
    send_model_to_device(sd_model)
    sd_model.eval()
    model_data.set_sd_model(sd_model)
    model_data.was_loaded_at_least_once = True
    script_callbacks.model_loaded_callback(sd_model)
    with devices.autocast(), torch.no_grad():
        sd_model.cond_stage_model_empty_prompt = get_empty_cond(sd_model)
    return sd_model


def reuse_model_from_already_loaded(sd_model: Any, checkpoint_info: CheckpointInfo, timer: Any = None) -> Any:
    """A loaded model of this checkpoint, else one to overwrite, else None."""
    if sd_model is not None and sd_model.sd_checkpoint_info.filename == checkpoint_info.filename:
        return sd_model
    if shared.opts.sd_checkpoints_keep_in_cpu:
        send_model_to_cpu(sd_model)
    loaded = model_data.loaded_sd_models
    already = next((m for m in loaded if m.sd_checkpoint_info.filename == checkpoint_info.filename), None)
    limit = shared.opts.sd_checkpoints_limit
    for model in reversed(list(loaded)):
        if model is not already and len(loaded) > limit > 0:
            loaded.remove(model)
            send_model_to_trash(model)
    if already is not None:
        # No model_loaded_callback here: extensions do not hear of this switch.
        send_model_to_device(already)
        model_data.set_sd_model(already, already_loaded=True)
        if not SkipWritingToConfig.skip:
            shared.opts.data["sd_model_checkpoint"] = already.sd_checkpoint_info.title
            shared.opts.data["sd_checkpoint_hash"] = already.sd_checkpoint_info.sha256
        return model_data.sd_model
    if limit > 1 and len(loaded) < limit:
        model_data.sd_model = None
        load_model(checkpoint_info)
        return model_data.sd_model
    if loaded:
        model_data.sd_model = loaded.pop()
        return model_data.sd_model
    return None


def reload_model_weights(sd_model: Any = None, info: CheckpointInfo | None = None, forced_reload: bool = False) -> Any:
    checkpoint_info = info or select_checkpoint()
    sd_model = sd_model or model_data.sd_model
    current_info = None
    if sd_model is not None:
        current_info = sd_model.sd_checkpoint_info
        if bool(check_fp8(sd_model)) != devices.fp8:
            forced_reload = True
        elif sd_model.sd_model_checkpoint == checkpoint_info.filename and not forced_reload:
            return sd_model

    sd_model = reuse_model_from_already_loaded(sd_model, checkpoint_info)
    found = sd_model is not None and sd_model.sd_checkpoint_info.filename == checkpoint_info.filename
    if found and not forced_reload:
        return sd_model
    if sd_model is not None:
        send_model_to_cpu(sd_model)

    state_dict = get_checkpoint_state_dict(checkpoint_info)
    config = read_config(checkpoint_info.filename).to_json()
    if sd_model is None or config != sd_model.used_config:
        if sd_model is not None:
            send_model_to_trash(sd_model)
        load_model(checkpoint_info, already_loaded_state_dict=state_dict)
        return model_data.sd_model
    try:
        load_model_weights(sd_model, checkpoint_info, state_dict)
    except Exception:
        print("Failed to load checkpoint, restoring previous")
        load_model_weights(sd_model, current_info, None)
        raise
    finally:
        if not sd_model.lowvram:
            sd_model.to(devices.device)
        script_callbacks.model_loaded_callback(sd_model)
    model_data.set_sd_model(sd_model)
    return sd_model


def apply_token_merging(sd_model: Any, token_merging_ratio: float) -> None:
    current = getattr(sd_model, "applied_token_merged_ratio", 0)
    if current == token_merging_ratio:
        return
    if current > 0:
        standin_tome.remove_patch(sd_model)
    if token_merging_ratio > 0:
        standin_tome.apply_patch(sd_model, token_merging_ratio)
    sd_model.applied_token_merged_ratio = token_merging_ratio
