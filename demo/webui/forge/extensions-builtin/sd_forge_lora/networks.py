"""LoRA: choosing networks makes patchers with patches; weights change when such a patcher is loaded."""

from __future__ import annotations

import functools
import os
from typing import Any

import torch

from backend.args import dynamic_args
from backend.patcher.lora import load_lora, model_lora_keys_clip, model_lora_keys_unet
from backend.utils import load_torch_file
from modules import hashes, sd_models, shared
from modules.util import walk_files

available_networks: dict[str, NetworkOnDisk] = {}
available_network_aliases: dict[str, NetworkOnDisk] = {}
loaded_networks: list[Network] = []
extra_network_lora: Any = None


class NetworkOnDisk:
    def __init__(self, name: str, filename: str) -> None:
        self.name = self.alias = name
        self.filename = filename
        self.metadata: dict[str, Any] = {}
        self.shorthash: str | None = None

    def read_hash(self) -> None:
        self.shorthash = hashes.sha256(self.filename, f"lora/{self.name}")[:12]


class Network:
    def __init__(self, name: str, network_on_disk: NetworkOnDisk) -> None:
        self.name = self.mentioned_name = name
        self.network_on_disk = network_on_disk


def load_lora_for_models(model: Any, clip: Any, lora: dict, strength_model: float, strength_clip: float,
                         filename: str = "default", online_mode: bool = False) -> tuple[Any, Any]:
    """New patchers with the patches of a file; the old ones where nothing fits."""
    unet_patches, rest = load_lora(lora, model_lora_keys_unet(model.model))
    clip_patches, _rest = load_lora(rest, model_lora_keys_clip(clip.cond_stage_model))
    if unet_patches:
        model = model.clone()
        model.add_patches(filename=filename, patches=unet_patches, strength_patch=strength_model,
                          online_mode=online_mode)
    if clip_patches:
        clip = clip.clone()
        clip.add_patches(filename=filename, patches=clip_patches, strength_patch=strength_clip,
                         online_mode=online_mode)
    return model, clip


@functools.lru_cache(maxsize=5)
def load_lora_state_dict(filename: str) -> dict:
    return load_torch_file(filename, safe_load=True)


def list_available_networks() -> None:
    available_networks.clear()
    available_network_aliases.clear()
    os.makedirs(shared.cmd_opts.lora_dir, exist_ok=True)
    for filename in walk_files(shared.cmd_opts.lora_dir, [".safetensors"]):
        name = os.path.splitext(os.path.basename(filename))[0]
        available_networks[name] = available_network_aliases[name] = NetworkOnDisk(name, filename)


def load_networks(names: list[str], te_multipliers: list, unet_multipliers: list, dyn_dims: list | None = None) -> None:
    engine = sd_models.model_data.get_sd_model()
    if engine is None:
        return
    loaded_networks.clear()
    if any(name not in available_network_aliases for name in names):
        list_available_networks()
    for name in names:
        on_disk = available_network_aliases.get(name)
        if on_disk is not None:
            on_disk.read_hash()
            loaded_networks.append(Network(name, on_disk))

    online = dynamic_args.get("online_lora", False)
    if engine.forge_objects.unet.model.storage_dtype in (torch.float32, torch.float16, torch.bfloat16):
        online = False
    targets = [[available_network_aliases[name].filename, unet, te, online]
               for name, unet, te in zip(names, unet_multipliers, te_multipliers) if name in available_network_aliases]
    if engine.current_lora_hash == str(targets):
        return
    engine.current_lora_hash = str(targets)
    objects = engine.forge_objects
    objects.unet, objects.clip = engine.forge_objects_original.unet, engine.forge_objects_original.clip
    for filename, strength_model, strength_clip, online_mode in targets:
        objects.unet, objects.clip = load_lora_for_models(
            objects.unet, objects.clip, load_lora_state_dict(filename), strength_model, strength_clip,
            filename=filename, online_mode=online_mode)
    engine.forge_objects_after_applying_lora = objects.shallow_copy()


list_available_networks()
