"""The UNet with this host's hooks: control residuals, block modifiers, and attention patches.

``control`` is used up: its lists are emptied by one pass. ``transformer_options`` is written into.
"""

from __future__ import annotations

from typing import Any

import torch

from common.nn.unet import BasicTransformerBlock as PlainBlock
from common.nn.unet import SpatialTransformer as PlainTransformer
from common.nn.unet import TimestepEmbedSequential, UNetConfig, UNetModel, timestep_embedding  # noqa: F401


def apply_control(h: torch.Tensor, control: dict | None, name: str) -> torch.Tensor:
    if control is not None and control.get(name):
        residual = control[name].pop()
        if residual is not None:
            h = h + residual
    return h


class BasicTransformerBlock(PlainBlock):
    def self_attention(self, x: torch.Tensor, transformer_options: dict | None) -> torch.Tensor:
        options = transformer_options or {}
        patches = options.get("patches", {})
        extra = {k: v for k, v in options.items() if k not in ("patches", "patches_replace")}
        extra["n_heads"] = self.attn1.heads
        extra["dim_head"] = x.shape[-1] // self.attn1.heads
        context = value = x
        for patch in patches.get("attn1_patch", []):
            x, context, value = patch(x, context, value, extra)
        block = options.get("block")
        replacements = options.get("patches_replace", {}).get("attn1", {})
        exact = (*block, options.get("block_index", 0)) if block is not None else None
        replace = replacements.get(exact, replacements.get(block))
        attn = self.attn1
        q, k, v = attn.to_q(x), attn.to_k(context), attn.to_v(value)
        out = attn.attend(q, k, v) if replace is None else replace(q, k, v, extra)
        out = attn.to_out(out)
        for patch in patches.get("attn1_output_patch", []):
            out = patch(out, extra)
        return out


class SpatialTransformer(PlainTransformer):
    block_class = BasicTransformerBlock


class IntegratedUNet2DConditionModel(UNetModel):
    transformer_class = SpatialTransformer

    def __init__(self, config: UNetConfig, ops: Any) -> None:
        super().__init__(config, ops)
        self.config = dict(vars(config))

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor | None = None, context: torch.Tensor | None = None,
                y: torch.Tensor | None = None, control: dict | None = None, transformer_options: dict = {},  # noqa: B006
                **kwargs: Any) -> torch.Tensor:
        options = transformer_options
        options["original_shape"] = list(x.shape)
        options["transformer_index"] = 0
        patches = options.get("patches", {})
        modifiers = options.get("block_modifiers", [])

        def enter(h: torch.Tensor, kind: str, index: int) -> torch.Tensor:
            options["block"] = (kind, index)
            for modifier in modifiers:
                h = modifier(h, "before", options)
            return h

        def leave(h: torch.Tensor) -> torch.Tensor:
            for modifier in modifiers:
                h = modifier(h, "after", options)
            return h

        emb = self.embed(x, timesteps, y)
        skips, h = [], x
        for index, block in enumerate(self.input_blocks):
            h = block(enter(h, "input", index), emb, context, options)
            h = leave(apply_control(h, control, "input"))
            for patch in patches.get("input_block_patch", []):
                h = patch(h, options)
            skips.append(h)
            for patch in patches.get("input_block_patch_after_skip", []):
                h = patch(h, options)
        h = self.middle_block(enter(h, "middle", 0), emb, context, options)
        h = leave(apply_control(h, control, "middle"))
        for index, block in enumerate(self.output_blocks):
            options["block"] = ("output", index)
            skip = apply_control(skips.pop(), control, "output")
            for patch in patches.get("output_block_patch", []):
                h, skip = patch(h, skip, options)
            h = enter(torch.cat([h, skip], dim=1), "output", index)
            size = tuple(skips[-1].shape[2:]) if skips else None
            h = leave(block(h, emb, context, options, size))
        h = enter(h, "last", 0)
        if "group_norm_wrapper" in options:
            h = self.out[1:](options["group_norm_wrapper"](self.out[0], h, options))
        else:
            h = self.out(h)
        return leave(h)
