"""Which models are loaded, and which of their weights stay away from the compute device."""

from __future__ import annotations

from typing import Any

import torch

from common import config as _config

cpu = torch.device("cpu")
current_loaded_models: list[LoadedModel] = []


def get_torch_device() -> torch.device:
    return torch.device(_config.current().device)


def unet_offload_device() -> torch.device:
    return cpu


def cast_to_device(tensor: torch.Tensor, device: Any, dtype: torch.dtype, copy: bool = False) -> torch.Tensor:
    return tensor.to(device=device, dtype=dtype, copy=copy)


class LoadedModel:
    def __init__(self, model: Any) -> None:
        self.model = model

    def model_load(self) -> None:
        """Moves the weights and merges LoRA."""
        self.model.move(self.model.load_device)
        self.model.refresh_loras()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LoadedModel) and self.model is other.model

    __hash__ = None


def unload_model_clones(model: Any) -> None:
    for loaded in [x for x in current_loaded_models if model.is_clone(x.model)]:
        current_loaded_models.remove(loaded)


def load_model_gpu(model: Any) -> None:
    """A clone counts as another model: it unloads the original and loads anew, which is cheap."""
    wanted = LoadedModel(model)
    if wanted not in current_loaded_models:
        unload_model_clones(model)
        wanted.model_load()
        current_loaded_models.insert(0, wanted)


def unload_all_models() -> None:
    while current_loaded_models:
        loaded = current_loaded_models.pop()
        loaded.model.move(loaded.model.offload_device)
