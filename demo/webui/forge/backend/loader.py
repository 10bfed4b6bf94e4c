"""A checkpoint file to an engine, with the weights in the wanted number type."""

from __future__ import annotations

from typing import Any

import torch

from backend import memory_management, utils
from backend.args import dynamic_args
from backend.diffusion_engine.sd15 import StableDiffusion
from backend.diffusion_engine.sdxl import StableDiffusionXL
from backend.modules.k_prediction import Prediction
from backend.nn.unet import IntegratedUNet2DConditionModel
from backend.operations import using_forge_operations
from backend.patcher.base import ModelPatcher
from backend.patcher.clip import CLIP
from backend.patcher.unet import UnetPatcher
from backend.patcher.vae import VAE
from common import config as _config
from common.checkpoints import TEXT_PREFIX, UNET_PREFIX, VAE_PREFIX, ModelConfig, read_config
from common.nn.text import TextEncoder
from common.nn.vae import build_vae


def _part(state_dict: dict, prefix: str) -> dict:
    return {k[len(prefix):]: v for k, v in state_dict.items() if k.startswith(prefix)}


def _unet(config: ModelConfig, weights: dict) -> Any:
    """Weights in another type than they are used in make every layer cast them in its forward."""
    computation = torch.float16 if _config.current().half else torch.float32
    storage = dynamic_args.get("forge_unet_storage_dtype") or computation
    device = memory_management.get_torch_device()
    with using_forge_operations(device=device, dtype=storage, manual_cast_enabled=storage != computation):
        unet = IntegratedUNet2DConditionModel(config.unet)
    unet.load_state_dict({k: v.to(device, storage) for k, v in weights.items()})
    unet.requires_grad_(False).eval()
    unet.storage_dtype, unet.computation_dtype = storage, computation
    unet.load_device = unet.initial_device = device
    unet.offload_device = memory_management.unet_offload_device()
    return unet


@torch.inference_mode()
def forge_loader(sd: str, additional_state_dicts: Any = None) -> Any:
    config = read_config(sd)
    weights = utils.load_torch_file(sd)
    device = memory_management.get_torch_device()
    text, vae = TextEncoder(config.text), build_vae(config.vae)
    for module, prefix in ((text, TEXT_PREFIX[config.family]), (vae, VAE_PREFIX)):
        module.load_state_dict(_part(weights, prefix))
        module.to(device, torch.float32).requires_grad_(False).eval()
    predictor = Prediction(prediction_type="v_prediction" if config.prediction == "v" else "epsilon").to(device)
    unet = UnetPatcher.from_model(_unet(config, _part(weights, UNET_PREFIX)), config=config, k_predictor=predictor)
    engine = StableDiffusionXL if config.family == "sdxl" else StableDiffusion
    return engine(config, unet, CLIP(text, ModelPatcher(text, device, device)), VAE(vae, device))
