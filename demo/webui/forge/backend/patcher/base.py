"""A model together with what is to be changed about it. Clones share the model and differ in the changes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from backend.patcher.lora import LoraLoader


class ModelPatcher:
    def __init__(self, model: Any, load_device: Any, offload_device: Any, current_device: Any = None) -> None:
        self.model = model
        self.lora_patches: dict[tuple, dict[str, list]] = {}
        self.model_options: dict[str, Any] = {"transformer_options": {}}
        self.load_device = load_device
        self.offload_device = offload_device
        if not hasattr(model, "lora_loader"):
            model.lora_loader = LoraLoader(model)
        self.lora_loader: LoraLoader = model.lora_loader
        self.current_device = self.offload_device if current_device is None else current_device

    def clone(self) -> ModelPatcher:
        other = type(self)(self.model, self.load_device, self.offload_device, self.current_device)
        other.lora_patches = self.lora_patches.copy()
        other.model_options = copy.deepcopy(self.model_options)
        return other

    def is_clone(self, other: Any) -> bool:
        return getattr(other, "model", None) is self.model

    def add_patches(self, *, filename: str, patches: dict, strength_patch: float = 1.0, strength_model: float = 1.0,
                    online_mode: bool = False) -> set:
        known = {k for k, _ in self.model.named_parameters()}
        fitting = {k: [[strength_patch, v, strength_model, None, None]] for k, v in patches.items() if k in known}
        self.lora_patches[(filename, strength_patch, strength_model, online_mode)] = fitting
        return set(fitting)

    def refresh_loras(self) -> None:
        self.lora_loader.refresh(lora_patches=self.lora_patches, offload_device=self.offload_device)

    def set_model_unet_function_wrapper(self, unet_wrapper_function: Callable) -> None:
        """One slot: the last writer wins."""
        self.model_options["model_function_wrapper"] = unet_wrapper_function

    def set_model_attn1_patch(self, patch: Any) -> None:
        patches = self.model_options["transformer_options"].setdefault("patches", {})
        patches["attn1_patch"] = [*patches.get("attn1_patch", []), patch]

    def move(self, target_device: Any) -> None:
        self.model.to(target_device)
        self.current_device = target_device
