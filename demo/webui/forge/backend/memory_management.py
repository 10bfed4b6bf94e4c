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


def get_free_memory(dev: Any = None, torch_free_too: bool = False) -> Any:
    free = 64 * 1024**3
    return (free, free) if torch_free_too else free


def soft_empty_cache(force: bool = False) -> None:
    """There is no cache."""


def dtype_size(dtype: torch.dtype) -> int:
    return torch.empty((), dtype=dtype).element_size()


def cast_to_device(tensor: torch.Tensor, device: Any, dtype: torch.dtype, copy: bool = False) -> torch.Tensor:
    return tensor.to(device=device, dtype=dtype, copy=copy)


class LoadedModel:
    def __init__(self, model: Any) -> None:
        self.model = model
        self.device = model.load_device

    def model_load(self) -> None:
        """Moves the weights and merges LoRA."""
        self.model.forge_patch_model(self.device)
        self.model.current_device = self.model.load_device
        self.model.refresh_loras()

    def model_unload(self, avoid_model_moving: bool = False) -> None:
        self.model.forge_unpatch_model(None if avoid_model_moving else self.model.offload_device)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LoadedModel) and self.model is other.model

    __hash__ = None


def unload_model_clones(model: Any) -> None:
    for loaded in [x for x in current_loaded_models if model.is_clone(x.model)]:
        current_loaded_models.remove(loaded)
        loaded.model_unload(avoid_model_moving=True)


def load_models_gpu(models: list[Any], memory_required: int = 0) -> None:
    """A clone counts as another model: it unloads the original and loads anew, which is cheap."""
    for model in models:
        wanted = LoadedModel(model)
        if wanted in current_loaded_models:
            continue
        unload_model_clones(model)
        wanted.model_load()
        current_loaded_models.insert(0, wanted)


def load_model_gpu(model: Any) -> None:
    load_models_gpu([model])


def unload_all_models() -> None:
    while current_loaded_models:
        current_loaded_models.pop().model_unload()
