"""medvram and lowvram: only one part of the model is on the compute device at any time."""

from __future__ import annotations

from typing import Any

import torch

from common import offload
from modules import devices, shared

cpu = torch.device("cpu")
module_in_gpu: torch.nn.Module | None = None


def send_everything_to_cpu() -> None:
    global module_in_gpu
    if module_in_gpu is not None:
        offload.to_cpu(module_in_gpu, devices.device)
    module_in_gpu = None


def is_needed(sd_model: Any) -> bool:
    return shared.cmd_opts.lowvram or shared.cmd_opts.medvram


def is_enabled(sd_model: Any) -> bool:
    return sd_model.lowvram


def apply(sd_model: Any) -> None:
    enable = is_needed(sd_model)
    shared.parallel_processing_allowed = not enable
    if enable:
        setup_for_low_vram(sd_model, not shared.cmd_opts.lowvram)
    else:
        sd_model.lowvram = False


def setup_for_low_vram(sd_model: Any, use_medvram: bool) -> None:
    if getattr(sd_model, "lowvram", False):
        return
    sd_model.lowvram = True
    parents: dict[torch.nn.Module, torch.nn.Module] = {}

    def send_me_to_gpu(module: torch.nn.Module, _args: Any) -> None:
        """A forward pre-hook: this part in, the last one out."""
        global module_in_gpu
        module = parents.get(module, module)
        if module_in_gpu is module:
            return
        send_everything_to_cpu()
        offload.to_device(module, devices.device)
        module_in_gpu = module

    vae = sd_model.first_stage_model
    encode, decode = vae.encode, vae.decode

    def encode_here(x: Any) -> Any:
        send_me_to_gpu(vae, None)
        return encode(x)

    def decode_here(z: Any) -> Any:
        send_me_to_gpu(vae, None)
        return decode(z)

    # The autoencoder is used through encode() and decode(), which run no forward hooks.
    vae.encode, vae.decode = encode_here, decode_here
    vae.register_forward_pre_hook(send_me_to_gpu)
    if hasattr(sd_model, "conditioner"):
        sd_model.conditioner.register_forward_pre_hook(send_me_to_gpu)
        text = sd_model.conditioner
    else:
        text = sd_model.cond_stage_model
        text.transformer.register_forward_pre_hook(send_me_to_gpu)
        parents[text.transformer] = text

    unet = sd_model.model.diffusion_model
    if use_medvram:
        sd_model.model.register_forward_pre_hook(send_me_to_gpu)
        parts = [sd_model.model]
    else:
        parts = [unet.time_embed, *unet.input_blocks, unet.middle_block, *unet.output_blocks]
        for part in parts:
            part.register_forward_pre_hook(send_me_to_gpu)
    if devices.device.type != "cpu":
        sd_model.to(devices.device)
    for part in [vae, text, *parts]:
        offload.to_cpu(part, devices.device)
