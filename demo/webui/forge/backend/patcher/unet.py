"""The patcher of the UNet."""

from __future__ import annotations

from typing import Any

from backend.modules.k_model import KModel
from backend.patcher.base import ModelPatcher


class UnetPatcher(ModelPatcher):
    @classmethod
    def from_model(cls, model: Any, diffusers_scheduler: Any = None, config: Any = None,
                   k_predictor: Any = None) -> UnetPatcher:
        wrapped = KModel(model=model, diffusers_scheduler=diffusers_scheduler, k_predictor=k_predictor, config=config)
        return cls(wrapped, load_device=model.load_device, offload_device=model.offload_device,
                   current_device=model.initial_device)
