"""Which models are loaded, and which of their weights stay away from the compute device."""

from __future__ import annotations

from typing import Any

import torch

from common import config as _config
from common import offload

cpu = torch.device("cpu")
current_loaded_models: list[LoadedModel] = []
current_inference_memory = 1024 * 1024 * 1024
signal_empty_cache = False
PIN_SHARED_MEMORY = False
total_vram = 8 * 1024


def get_torch_device() -> torch.device:
    return torch.device(_config.current().device)


def unet_offload_device() -> torch.device:
    return cpu


def is_device_cpu(device: torch.device) -> bool:
    return device.type == "cpu"


def get_free_memory(dev: Any = None, torch_free_too: bool = False) -> Any:
    free = 64 * 1024**3
    return (free, free) if torch_free_too else free


def minimum_inference_memory() -> int:
    return current_inference_memory


def soft_empty_cache(force: bool = False) -> None:
    global signal_empty_cache
    signal_empty_cache = False


def dtype_size(dtype: torch.dtype) -> int:
    return torch.empty((), dtype=dtype).element_size()


def module_size(module: torch.nn.Module, **_: Any) -> int:
    return sum(x.numel() * x.element_size() for x in module.state_dict().values())


def cast_to_device(tensor: torch.Tensor, device: Any, dtype: torch.dtype, copy: bool = False) -> torch.Tensor:
    return tensor.to(device=device, dtype=dtype, copy=copy)


def _share_to_swap() -> float:
    """How much of a model stays on the CPU: nothing, half (medvram), or everything (lowvram)."""
    config = _config.current()
    return 1.0 if config.lowvram else 0.5 if config.medvram else 0.0


class LoadedModel:
    def __init__(self, model: Any) -> None:
        self.model = model
        self.model_accelerated = False
        self.device = model.load_device
        self.real_model: Any = None

    def model_load(self) -> Any:
        """Moves the weights, or leaves some behind with layers told to fetch them; then merges LoRA."""
        global signal_empty_cache
        share = _share_to_swap()
        self.real_model = self.model.forge_patch_model(None if share else self.device)
        self.model.current_device = self.model.load_device
        if share:
            layers = [m for m in self.real_model.modules() if hasattr(m, "parameters_manual_cast")]
            # Real swapping fills the device with the small layers first.
            layers.sort(key=lambda m: -sum(p.numel() for p in m.parameters()))
            for layer in layers[: int(len(layers) * share)]:
                layer.prev_parameters_manual_cast = layer.parameters_manual_cast
                layer.parameters_manual_cast = True
                offload.to_cpu(layer, self.device)
            self.model_accelerated = True
            signal_empty_cache = True
        self.model.refresh_loras()
        return self.real_model

    def model_unload(self, avoid_model_moving: bool = False) -> None:
        if self.model_accelerated:
            for module in self.real_model.modules():
                if hasattr(module, "prev_parameters_manual_cast"):
                    module.parameters_manual_cast = module.prev_parameters_manual_cast
                    del module.prev_parameters_manual_cast
                    offload.to_device(module, self.device)
            self.model_accelerated = False
        self.model.forge_unpatch_model(None if avoid_model_moving else self.model.offload_device)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LoadedModel) and self.model is other.model

    __hash__ = None


def unload_model_clones(model: Any) -> None:
    for loaded in [x for x in current_loaded_models if model.is_clone(x.model)]:
        current_loaded_models.remove(loaded)
        loaded.model_unload(avoid_model_moving=True)


def load_models_gpu(models: list[Any], memory_required: int = 0, hard_memory_preservation: int = 0) -> None:
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


def free_memory(memory_required: int, device: Any, keep_loaded: Any = ()) -> None:
    pass
