"""The text encoder and its patcher."""

from __future__ import annotations

from typing import Any

from backend.patcher.base import ModelPatcher


class CLIP:
    def __init__(self, cond_stage_model: Any, patcher: ModelPatcher) -> None:
        self.cond_stage_model = cond_stage_model
        self.patcher = patcher

    def clone(self) -> CLIP:
        return CLIP(self.cond_stage_model, self.patcher.clone())

    def add_patches(self, *args: Any, **kwargs: Any) -> Any:
        return self.patcher.add_patches(*args, **kwargs)
