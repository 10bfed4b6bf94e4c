"""The UNet with this host's ways: a pass uses ``control`` up, options are written into, attention can be patched."""

from __future__ import annotations

import torch

from common.nn.unet import BasicTransformerBlock, UNetModel, UNetShape


def apply_control(h: torch.Tensor, control: dict | None, name: str) -> torch.Tensor:
    residual = control[name].pop() if control is not None and control.get(name) else None
    return h if residual is None else h + residual


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
        transformer_options["transformer_index"] = 0
        self._patches = transformer_options.get("patches", {})
        emb, skips = self.embed(timesteps, y, x.dtype), []
        for index, block in enumerate(self.input_blocks):
            transformer_options["block"] = ("input", index)
            x = apply_control(block(x, emb, context), control, "input")
            skips.append(x)
        transformer_options["block"] = ("middle", 0)
        x = apply_control(self.middle_block(x, emb, context), control, "middle")
        for index, block in enumerate(self.output_blocks):
            transformer_options["block"] = ("output", index)
            x = torch.cat([x, apply_control(skips.pop(), control, "output")], dim=1)
            x = block(x, emb, context, skips[-1].shape[2:] if skips else None)
        return self.out(x)
