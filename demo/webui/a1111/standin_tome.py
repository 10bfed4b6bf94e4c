"""Token merging by swapping the class of the transformer blocks, and swapping it back."""

from __future__ import annotations

from typing import Any

import torch

from common.nn.unet import BasicTransformerBlock


def _merging(kind: type) -> type:
    class ToMeBlock(kind):
        """Self-attention on fewer tokens: the last ones are replaced by their mean and get its result."""

        _parent = kind
        _tome_ratio = 0.0

        def self_attention(self, x: torch.Tensor, transformer_options: Any) -> torch.Tensor:
            merged = int(x.shape[1] * self._tome_ratio)
            if merged < 2:
                return super().self_attention(x, transformer_options)
            kept, rest = x[:, :-merged], x[:, -merged:]
            out = super().self_attention(torch.cat([kept, rest.mean(1, keepdim=True)], 1), transformer_options)
            return torch.cat([out[:, :-1], out[:, -1:].expand(-1, merged, -1)], 1)

    return ToMeBlock


def apply_patch(model: Any, ratio: float) -> None:
    for module in model.model.diffusion_model.modules():
        if isinstance(module, BasicTransformerBlock):
            module.__class__ = _merging(module.__class__)
            module._tome_ratio = ratio


def remove_patch(model: Any) -> None:
    for module in model.model.diffusion_model.modules():
        if module.__class__.__name__ == "ToMeBlock":
            module.__class__ = module._parent
