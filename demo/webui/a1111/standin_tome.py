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

        def forward(self, x: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
            merged = int(x.shape[1] * self._tome_ratio)
            if merged < 2:
                return super().forward(x, context)
            tokens = self.norm1(x)
            last = tokens[:, -merged:].mean(1, keepdim=True)
            out = self.attn1(torch.cat([tokens[:, :-merged], last], 1))
            x = x + torch.cat([out[:, :-1], out[:, -1:].expand(-1, merged, -1)], 1)
            x = x + self.attn2(self.norm2(x), context)
            return x + self.ff(self.norm3(x))

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
