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

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.controlnet_linked_list: Any = None
        self.extra_preserved_memory_during_sampling = 0
        self.extra_model_patchers_during_sampling: list[Any] = []
        self.extra_concat_condition: Any = None

    def clone(self) -> UnetPatcher:
        other = super().clone()
        other.controlnet_linked_list = self.controlnet_linked_list
        other.extra_preserved_memory_during_sampling = self.extra_preserved_memory_during_sampling
        other.extra_model_patchers_during_sampling = self.extra_model_patchers_during_sampling.copy()
        other.extra_concat_condition = self.extra_concat_condition
        return other

    def add_extra_preserved_memory_during_sampling(self, memory_in_bytes: int) -> None:
        self.extra_preserved_memory_during_sampling += memory_in_bytes

    def add_extra_model_patcher_during_sampling(self, model_patcher: ModelPatcher) -> None:
        self.extra_model_patchers_during_sampling.append(model_patcher)

    def add_patched_controlnet(self, cnet: Any) -> None:
        cnet.set_previous_controlnet(self.controlnet_linked_list)
        self.controlnet_linked_list = cnet

    def list_controlnets(self) -> list[Any]:
        found, cnet = [], self.controlnet_linked_list
        while cnet is not None:
            found.append(cnet)
            cnet = cnet.previous_controlnet
        return found

    def append_model_option(self, k: str, v: Any, ensure_uniqueness: bool = False) -> None:
        listed = self.model_options.setdefault(k, [])
        if not (ensure_uniqueness and v in listed):
            listed.append(v)

    def append_transformer_option(self, k: str, v: Any, ensure_uniqueness: bool = False) -> None:
        listed = self.model_options.setdefault("transformer_options", {}).setdefault(k, [])
        if not (ensure_uniqueness and v in listed):
            listed.append(v)

    def set_transformer_option(self, k: str, v: Any) -> None:
        self.model_options.setdefault("transformer_options", {})[k] = v

    def add_conditioning_modifier(self, modifier: Any, ensure_uniqueness: bool = False) -> None:
        self.append_model_option("conditioning_modifiers", modifier, ensure_uniqueness)

    def add_sampler_pre_cfg_function(self, modifier: Any, ensure_uniqueness: bool = False) -> None:
        self.append_model_option("sampler_pre_cfg_function", modifier, ensure_uniqueness)

    def set_memory_peak_estimation_modifier(self, modifier: Any) -> None:
        self.model_options["memory_peak_estimation_modifier"] = modifier

    def add_alphas_cumprod_modifier(self, modifier: Any, ensure_uniqueness: bool = False) -> None:
        self.append_model_option("alphas_cumprod_modifiers", modifier, ensure_uniqueness)

    def add_block_modifier(self, modifier: Any, ensure_uniqueness: bool = False) -> None:
        self.append_transformer_option("block_modifiers", modifier, ensure_uniqueness)

    def add_block_inner_modifier(self, modifier: Any, ensure_uniqueness: bool = False) -> None:
        self.append_transformer_option("block_inner_modifiers", modifier, ensure_uniqueness)

    def set_group_norm_wrapper(self, wrapper: Any) -> None:
        self.set_transformer_option("group_norm_wrapper", wrapper)

    def set_controlnet_model_function_wrapper(self, wrapper: Any) -> None:
        self.set_transformer_option("controlnet_model_function_wrapper", wrapper)
