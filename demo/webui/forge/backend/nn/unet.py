"""The UNet with this host's ways: a pass writes into its options, and extensions can patch the self-attention."""

from __future__ import annotations

import torch

from common.nn.unet import BasicTransformerBlock, UNetModel, UNetShape


class IntegratedUNet2DConditionModel(UNetModel):
    def __init__(self, shape: UNetShape) -> None:
        super().__init__(shape)
        self._patches: dict = {}
        for module in self.modules():
            if isinstance(module, BasicTransformerBlock):
                module.attn1.register_forward_pre_hook(self._patch_self_attention)

    def _patch_self_attention(self, _attention: torch.nn.Module, args: tuple) -> tuple:
        x = context = args[0]
        for patch in self._patches.get("attn1_patch", []):
            x, context, _value = patch(x, context, context, {})
        return x, context

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor, y: torch.Tensor | None = None,
                control: dict | None = None, transformer_options: dict = {}) -> torch.Tensor:  # noqa: B006
        transformer_options["original_shape"] = list(x.shape)
        self._patches = transformer_options.get("patches", {})
        return super().forward(x, timesteps, context, y)
