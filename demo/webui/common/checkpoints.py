"""Checkpoint and LoRA files for the stand-in hosts: their description, and writers of seeded random ones.

A checkpoint is a safetensors file with the usual key names; what the real hosts guess from a config file stands in
the file's metadata, under ``standin_config``.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from common.nn.text import TextConfig, TextEncoder
from common.nn.unet import UNetModel, UNetShape
from common.nn.vae import build_vae

METADATA_KEY = "standin_config"
UNET_PREFIX = "model.diffusion_model."
VAE_PREFIX = "first_stage_model."
TEXT_PREFIX = {"sd1": "cond_stage_model.", "sd2": "cond_stage_model.", "sdxl": "conditioner.embedders.0."}


# Widths that hosts and extensions tell the families by are those of the real models; everything else is small: two
# levels with transformers instead of three, and one ResBlock for each instead of two.
SD1_UNET = UNetShape(32, (1, 2), (1, 1), 1, context_dim=768, head_channels=16, num_res_blocks=1)
SD2_UNET = replace(SD1_UNET, context_dim=1024, use_linear_in_transformer=True)
SDXL_UNET = replace(
    SD2_UNET, channel_mult=(1, 2, 2), transformer_depth=(0, 1, 2), transformer_depth_middle=2, context_dim=2048,
    adm_in_channels=2816,
)


@dataclass(frozen=True)
class ModelConfig:
    """``family`` is what the hosts tell apart: sd1, sd2 or sdxl."""

    family: str = "sd1"
    prediction: str = "eps"
    unet: UNetShape = SD1_UNET
    text: TextConfig = field(default_factory=TextConfig)
    vae: dict[str, Any] = field(default_factory=lambda: {"kind": "patch"})

    @property
    def is_inpaint(self) -> bool:
        return self.unet.in_channels == 9

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelConfig:
        values = json.loads(text)
        values["unet"] = UNetShape(**{k: tuple(v) if isinstance(v, list) else v for k, v in values["unet"].items()})
        values["text"] = TextConfig(**values["text"])
        return cls(**values)


LOUDNESS = 2.0
"""How much louder than by default a random UNet speaks: enough for the last steps to show, too little for chaos."""

KINDS: dict[str, ModelConfig] = {
    "sd1": ModelConfig(),
    "sd1-wide": ModelConfig(unet=replace(SD1_UNET, model_channels=48)),
    "sd1-inpaint": ModelConfig(unet=replace(SD1_UNET, in_channels=9)),
    "other": ModelConfig(unet=replace(SD1_UNET, context_dim=320), text=TextConfig(out_width=320)),
    "sd2-v": ModelConfig("sd2", "v", SD2_UNET, TextConfig(out_width=1024)),
    "sdxl": ModelConfig("sdxl", "eps", SDXL_UNET, TextConfig(out_width=2048)),
    "sdxl-inpaint": ModelConfig("sdxl", "eps", replace(SDXL_UNET, in_channels=9), TextConfig(out_width=2048)),
}
STANDARD_SET = (
    ("tiny-sd15-a", "sd1", 1), ("tiny-sd15-b", "sd1", 2), ("tiny-sd15-inpaint", "sd1-inpaint", 3),
    ("tiny-sd15-wide", "sd1-wide", 4), ("tiny-sd21-v", "sd2-v", 5), ("tiny-sdxl-a", "sdxl", 6),
    ("tiny-sdxl-b", "sdxl", 7), ("tiny-unknown", "other", 8),
)
STANDARD_LORAS = (("tiny-lora-a", "sd1", 1), ("tiny-lora-b", "sd1", 2), ("tiny-lora-xl", "sdxl", 3))


def read_config(path: Path | str) -> ModelConfig:
    with safe_open(str(path), framework="pt") as file:
        text = (file.metadata() or {}).get(METADATA_KEY)
    if text is None:
        raise ValueError(f"{path} has no '{METADATA_KEY}' in its metadata: the stand-in cannot tell its layout")
    return ModelConfig.from_json(text)


def save_checkpoint(path: Path, config: ModelConfig, unet: UNetModel, text: TextEncoder, vae: torch.nn.Module,
                    dtype: torch.dtype = torch.float32) -> Path:
    """Writes trained or random parts as one checkpoint."""
    tensors: dict[str, torch.Tensor] = {}
    parts = ((UNET_PREFIX, unet), (TEXT_PREFIX[config.family], text), (VAE_PREFIX, vae))
    for prefix, module in parts:
        for name, value in module.state_dict().items():
            tensors[prefix + name] = value.detach().to(dtype).contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, str(path), metadata={METADATA_KEY: config.to_json()})
    return path


def write_random(models: Path, name: str, kind: str | ModelConfig = "sd1", seed: int = 0,
                 dtype: torch.dtype = torch.float32) -> Path:
    """A checkpoint of seeded random weights in ``models/Stable-diffusion``."""
    config = KINDS[kind] if isinstance(kind, str) else kind
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet, text, vae = UNetModel(config.unet), TextEncoder(config.text), build_vae(config.vae)
        unet.out[2].weight.data.mul_(LOUDNESS)
    return save_checkpoint(models / "Stable-diffusion" / f"{name}.safetensors", config, unet, text, vae, dtype)


def write_random_lora(models: Path, name: str, kind: str | ModelConfig = "sd1", seed: int = 0, rank: int = 4,
                      strength: float = 0.5, layers: tuple[str, ...] = ("attn1", "attn2", "ff.net"),
                      text_encoder: bool = True) -> Path:
    """A LoRA in ``models/Lora`` for the Linear layers of the transformer blocks (and of the text encoder)."""
    config = KINDS[kind] if isinstance(kind, str) else kind
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tensors: dict[str, torch.Tensor] = {}

        def add(key: str, layer: torch.nn.Linear) -> None:
            up = torch.randn(layer.out_features, rank) * strength / layer.in_features**0.5
            tensors[f"{key}.lora_up.weight"] = up
            tensors[f"{key}.lora_down.weight"] = torch.randn(rank, layer.in_features) / rank**0.5
            tensors[f"{key}.alpha"] = torch.tensor(float(rank))

        for path, module in UNetModel(config.unet).named_modules():
            wanted = "transformer_blocks" in path and any(f".{part}" in path for part in layers)
            if wanted and isinstance(module, torch.nn.Linear):
                add("lora_unet_" + path.replace(".", "_"), module)
        if text_encoder:
            prefix = "lora_te1_" if config.family == "sdxl" else "lora_te_"
            for path, module in TextEncoder(config.text).transformer.named_modules():
                if isinstance(module, torch.nn.Linear):
                    add(prefix + path.replace(".", "_"), module)
    target = models / "Lora" / f"{name}.safetensors"
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, str(target))
    return target


def write_standard_set(models: Path) -> None:
    """Two checkpoints of one layout, one of another width, one of every other kind, one of none; and LoRAs."""
    for name, kind, seed in STANDARD_SET:
        write_random(models, name, kind, seed)
    for name, kind, seed in STANDARD_LORAS:
        write_random_lora(models, name, kind, seed)
