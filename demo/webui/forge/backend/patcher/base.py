"""A model together with what is to be changed about it. Clones share the model and differ in the changes."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

from backend import memory_management, utils
from backend.patcher.lora import LoraLoader


def set_model_options_patch_replace(model_options: dict, patch: Any, name: str, block_name: str, number: int,
                                    transformer_index: int | None = None) -> dict:
    options = model_options["transformer_options"].copy()
    replace = {k: dict(v) for k, v in options.get("patches_replace", {}).items()}
    block = (block_name, number) if transformer_index is None else (block_name, number, transformer_index)
    replace.setdefault(name, {})[block] = patch
    options["patches_replace"] = replace
    model_options["transformer_options"] = options
    return model_options


class ModelPatcher:
    def __init__(self, model: Any, load_device: Any, offload_device: Any, size: int = 0, current_device: Any = None,
                 **kwargs: Any) -> None:
        self.size = size
        self.model = model
        self.lora_patches: dict[tuple, dict[str, list]] = {}
        self.object_patches: dict[str, Any] = {}
        self.object_patches_backup: dict[str, Any] = {}
        self.model_options: dict[str, Any] = {"transformer_options": {}}
        self.load_device = load_device
        self.offload_device = offload_device
        if not hasattr(model, "lora_loader"):
            model.lora_loader = LoraLoader(model)
        self.lora_loader: LoraLoader = model.lora_loader
        self.current_device = self.offload_device if current_device is None else current_device

    def model_size(self) -> int:
        self.size = self.size or memory_management.module_size(self.model)
        return self.size

    def _copy_to(self, other: Any) -> Any:
        other.lora_patches = self.lora_patches.copy()
        other.object_patches = self.object_patches.copy()
        other.model_options = copy.deepcopy(self.model_options)
        return other

    def clone(self) -> ModelPatcher:
        return self._copy_to(type(self)(self.model, self.load_device, self.offload_device, self.size,
                                        self.current_device))

    def is_clone(self, other: Any) -> bool:
        return getattr(other, "model", None) is self.model

    # LoRA

    def add_patches(self, *, filename: str, patches: dict, strength_patch: float = 1.0, strength_model: float = 1.0,
                    online_mode: bool = False) -> set:
        known = {k for k, _ in self.model.named_parameters()}
        fitting = {k: [[strength_patch, v, strength_model, None, None]] for k, v in patches.items() if k in known}
        self.lora_patches[(filename, strength_patch, strength_model, online_mode)] = fitting
        return set(fitting)

    def has_online_lora(self) -> bool:
        return any(key[3] for key in self.lora_patches)

    def refresh_loras(self) -> None:
        self.lora_loader.refresh(lora_patches=self.lora_patches, offload_device=self.offload_device)

    # Options

    def memory_required(self, input_shape: Any) -> Any:
        return self.model.memory_required(input_shape=input_shape)

    def _disable_cfg1(self, disable: bool) -> None:
        if disable:
            self.model_options["disable_cfg1_optimization"] = True

    def set_model_sampler_cfg_function(self, sampler_cfg_function: Callable,
                                       disable_cfg1_optimization: bool = False) -> None:
        function = sampler_cfg_function
        if len(inspect.signature(sampler_cfg_function).parameters) == 3:
            function = lambda args: sampler_cfg_function(args["cond"], args["uncond"], args["cond_scale"])  # noqa: E731
        self.model_options["sampler_cfg_function"] = function
        self._disable_cfg1(disable_cfg1_optimization)

    def set_model_sampler_post_cfg_function(self, post_cfg_function: Callable,
                                            disable_cfg1_optimization: bool = False) -> None:
        listed = self.model_options.get("sampler_post_cfg_function", [])
        self.model_options["sampler_post_cfg_function"] = [*listed, post_cfg_function]
        self._disable_cfg1(disable_cfg1_optimization)

    def set_model_sampler_pre_cfg_function(self, pre_cfg_function: Callable,
                                           disable_cfg1_optimization: bool = False) -> None:
        listed = self.model_options.get("sampler_pre_cfg_function", [])
        self.model_options["sampler_pre_cfg_function"] = [*listed, pre_cfg_function]
        self._disable_cfg1(disable_cfg1_optimization)

    def set_model_unet_function_wrapper(self, unet_wrapper_function: Callable) -> None:
        """One slot: the last writer wins."""
        self.model_options["model_function_wrapper"] = unet_wrapper_function

    def set_model_patch(self, patch: Any, name: str) -> None:
        patches = self.model_options["transformer_options"].setdefault("patches", {})
        patches[name] = [*patches.get(name, []), patch]

    def set_model_patch_replace(self, patch: Any, name: str, block_name: str, number: int,
                                transformer_index: int | None = None) -> None:
        set_model_options_patch_replace(self.model_options, patch, name, block_name, number, transformer_index)

    def set_model_attn1_patch(self, patch: Any) -> None:
        self.set_model_patch(patch, "attn1_patch")

    def set_model_attn1_output_patch(self, patch: Any) -> None:
        self.set_model_patch(patch, "attn1_output_patch")

    def set_model_attn1_replace(self, patch: Any, block_name: str, number: int,
                                transformer_index: int | None = None) -> None:
        self.set_model_patch_replace(patch, "attn1", block_name, number, transformer_index)

    def set_model_input_block_patch(self, patch: Any) -> None:
        self.set_model_patch(patch, "input_block_patch")

    def set_model_input_block_patch_after_skip(self, patch: Any) -> None:
        self.set_model_patch(patch, "input_block_patch_after_skip")

    def set_model_output_block_patch(self, patch: Any) -> None:
        self.set_model_patch(patch, "output_block_patch")

    # Objects

    def add_object_patch(self, name: str, obj: Any) -> None:
        """Takes effect when this very patcher is loaded."""
        self.object_patches[name] = obj

    def get_model_object(self, name: str) -> Any:
        for store in (self.object_patches, self.object_patches_backup):
            if name in store:
                return store[name]
        return utils.get_attr(self.model, name)

    def model_dtype(self) -> Any:
        return self.model.get_dtype() if hasattr(self.model, "get_dtype") else None

    def model_state_dict(self, filter_prefix: str | None = None) -> dict:
        weights = self.model.state_dict()
        return {k: v for k, v in weights.items() if filter_prefix is None or k.startswith(filter_prefix)}

    def forge_patch_model(self, target_device: Any = None) -> Any:
        for name, item in self.object_patches.items():
            self.object_patches_backup.setdefault(name, utils.get_attr(self.model, name))
            utils.set_attr_raw(self.model, name, item)
        if target_device is not None:
            self.model.to(target_device)
            self.current_device = target_device
        return self.model

    def forge_unpatch_model(self, target_device: Any = None) -> None:
        if target_device is not None:
            self.model.to(target_device)
            self.current_device = target_device
        for name, item in self.object_patches_backup.items():
            utils.set_attr_raw(self.model, name, item)
        self.object_patches_backup = {}
