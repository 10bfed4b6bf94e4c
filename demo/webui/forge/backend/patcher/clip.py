"""The text encoder and its patcher."""

from __future__ import annotations

from typing import Any

from backend.patcher.base import ModelPatcher


class CLIP:
    def __init__(self, cond_stage_model: Any = None, device: Any = None, no_init: bool = False) -> None:
        if no_init:
            return
        self.cond_stage_model = cond_stage_model
        self.patcher = ModelPatcher(cond_stage_model, load_device=device, offload_device=device)

    def clone(self) -> CLIP:
        other = CLIP(no_init=True)
        other.patcher = self.patcher.clone()
        other.cond_stage_model = self.cond_stage_model
        return other

    def add_patches(self, *args: Any, **kwargs: Any) -> Any:
        return self.patcher.add_patches(*args, **kwargs)
