"""A UNet with the layers and the names of the LDM checkpoints, with random weights.

It computes what the hosts' UNets compute, module by module in the same order; what training would give is missing.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from crdiff.bench.shape import StepInputs, UNetShape


def _group_norm(channels: int, eps: float = 1e-5) -> nn.GroupNorm:
    """32 groups as in the originals, fewer where the width does not divide."""
    return nn.GroupNorm(math.gcd(32, channels), channels, eps=eps)


class ResBlock(nn.Module):
    """Two convolutions with the time embedding added between them."""

    def __init__(self, channels: int, emb_channels: int, out_channels: int) -> None:
        super().__init__()
        convolution = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.in_layers = nn.Sequential(_group_norm(channels), nn.SiLU(), convolution)
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb_channels, out_channels))
        convolution = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.out_layers = nn.Sequential(_group_norm(out_channels), nn.SiLU(), nn.Dropout(0.0), convolution)
        same = channels == out_channels
        self.skip_connection = nn.Identity() if same else nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        hidden = self.in_layers(x) + self.emb_layers(emb)[:, :, None, None]
        result: Tensor = self.skip_connection(x) + self.out_layers(hidden)
        return result


class Downsample(nn.Module):
    """Half the height and width."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.op(x)
        return result


class Upsample(nn.Module):
    """Twice the height and width."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))
        return result


class CrossAttention(nn.Module):
    """Attention to the context, or to itself without one."""

    def __init__(self, dim: int, context_dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_k = nn.Linear(context_dim, dim, bias=False)
        self.to_v = nn.Linear(context_dim, dim, bias=False)
        self.to_out = nn.Sequential(nn.Linear(dim, dim), nn.Dropout(0.0))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        context = x if context is None else context
        batch, tokens, channels = x.shape
        q, k, v = (
            part.view(batch, -1, self.heads, channels // self.heads).transpose(1, 2)
            for part in (self.to_q(x), self.to_k(context), self.to_v(context))
        )
        attended = functional.scaled_dot_product_attention(q, k, v)
        result: Tensor = self.to_out(attended.transpose(1, 2).reshape(batch, tokens, channels))
        return result


class GEGLU(nn.Module):
    """A Linear whose second half gates its first."""

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__()
        self.proj = nn.Linear(dim, out_dim * 2)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        result: Tensor = value * functional.gelu(gate)
        return result


class FeedForward(nn.Module):
    """Four times the width in between."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.net = nn.Sequential(GEGLU(dim, 4 * dim), nn.Dropout(0.0), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.net(x)
        return result


class BasicTransformerBlock(nn.Module):
    """Self-attention, cross-attention, feed-forward."""

    def __init__(self, dim: int, context_dim: int, heads: int) -> None:
        super().__init__()
        self.attn1 = CrossAttention(dim, dim, heads)
        self.ff = FeedForward(dim)
        self.attn2 = CrossAttention(dim, context_dim, heads)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        x = self.attn1(self.norm1(x)) + x
        x = self.attn2(self.norm2(x), context) + x
        result: Tensor = self.ff(self.norm3(x)) + x
        return result


class SpatialTransformer(nn.Module):
    """Transformer blocks over the pixels of a feature map."""

    def __init__(self, channels: int, depth: int, shape: UNetShape) -> None:
        super().__init__()
        self.linear = shape.linear_projections
        self.norm = _group_norm(channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels) if self.linear else nn.Conv2d(channels, channels, 1)
        heads = shape.heads_at(channels)
        blocks = (BasicTransformerBlock(channels, shape.context_dim, heads) for _ in range(depth))
        self.transformer_blocks = nn.ModuleList(blocks)
        self.proj_out = nn.Linear(channels, channels) if self.linear else nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        tokens = self.norm(x)
        if not self.linear:
            tokens = self.proj_in(tokens)
        tokens = tokens.flatten(2).transpose(1, 2)
        if self.linear:
            tokens = self.proj_in(tokens)
        for block in self.transformer_blocks:
            tokens = block(tokens, context)
        if self.linear:
            tokens = self.proj_out(tokens)
        tokens = tokens.transpose(1, 2).reshape(batch, channels, height, width)
        if not self.linear:
            tokens = self.proj_out(tokens)
        result: Tensor = tokens + x
        return result


class TimestepEmbedSequential(nn.Sequential):
    """Hands the time embedding and the context to the children that take them."""

    def forward(self, x: Tensor, emb: Tensor, context: Tensor) -> Tensor:  # type: ignore[override]
        for layer in self:
            if isinstance(layer, ResBlock):
                x = layer(x, emb)
            elif isinstance(layer, SpatialTransformer):
                x = layer(x, context)
            else:
                x = layer(x)
        return x


class UNetModel(nn.Module):
    """The UNet of Stable Diffusion 1.x or XL (two ResBlocks a level), at the shape's width."""

    def __init__(self, shape: UNetShape) -> None:
        super().__init__()
        self.model_channels = width = shape.model_channels
        emb = 4 * width
        self.time_embed = nn.Sequential(nn.Linear(width, emb), nn.SiLU(), nn.Linear(emb, emb))
        if shape.adm_channels is not None:
            label = nn.Sequential(nn.Linear(shape.adm_channels, emb), nn.SiLU(), nn.Linear(emb, emb))
            self.label_emb = nn.Sequential(label)

        def block(channels: int, out_channels: int, depth: int, *after: nn.Module) -> TimestepEmbedSequential:
            transformer = [SpatialTransformer(out_channels, depth, shape)] if depth else []
            return TimestepEmbedSequential(ResBlock(channels, emb, out_channels), *transformer, *after)

        levels = list(zip(shape.channel_mult, shape.transformer_depth, strict=True))
        self.input_blocks = nn.ModuleList([TimestepEmbedSequential(nn.Conv2d(4, width, 3, padding=1))])
        channels, skips = width, [width]
        for level, (factor, depth) in enumerate(levels):
            for _ in range(2):
                self.input_blocks.append(block(channels, factor * width, depth))
                channels = factor * width
                skips.append(channels)
            if level < len(levels) - 1:
                self.input_blocks.append(TimestepEmbedSequential(Downsample(channels)))
                skips.append(channels)
        self.middle_block = block(channels, channels, shape.middle_depth, ResBlock(channels, emb, channels))
        self.output_blocks = nn.ModuleList()
        for level, (factor, depth) in reversed(list(enumerate(levels))):
            for index in range(3):
                after = [Upsample(factor * width)] if level and index == 2 else []
                self.output_blocks.append(block(channels + skips.pop(), factor * width, depth, *after))
                channels = factor * width
        self.out = nn.Sequential(_group_norm(channels), nn.SiLU(), nn.Conv2d(channels, 4, 3, padding=1))

    def _embedded(self, timesteps: Tensor, y: Tensor | None, dtype: torch.dtype) -> Tensor:
        half = self.model_channels // 2
        powers = torch.arange(half, dtype=torch.float32, device=timesteps.device) / half
        angles = timesteps[:, None].float() * torch.exp(-math.log(10000.0) * powers)[None]
        emb: Tensor = self.time_embed(torch.cat([angles.cos(), angles.sin()], dim=-1).to(dtype))
        return emb if y is None else emb + self.label_emb(y)

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor, y: Tensor | None = None) -> Tensor:
        emb = self._embedded(timesteps, y, x.dtype)
        skips: list[Tensor] = []
        for block in self.input_blocks:
            x = block(x, emb, context)
            skips.append(x)
        x = self.middle_block(x, emb, context)
        for block in self.output_blocks:
            skip = skips.pop()
            if x.shape[2:] != skip.shape[2:]:  # an odd number of rows or columns was halved
                x = functional.interpolate(x, skip.shape[2:], mode="nearest")
            x = block(torch.cat([x, skip], dim=1), emb, context)
        result: Tensor = self.out(x)
        return result

    def predict(self, inputs: StepInputs) -> Tensor:
        """One pass."""
        result: Tensor = self(inputs.x, inputs.timesteps, inputs.context, inputs.y)
        return result


def build_unet(shape: UNetShape, device: torch.device, dtype: torch.dtype, seed: int = 0) -> UNetModel:
    """A UNet with normally distributed weights, the same for the same arguments; on ``meta`` without any."""
    with torch.device("meta"):
        unet = UNetModel(shape).to(dtype).eval().requires_grad_(False)
    if device.type == "meta":
        return unet
    unet.to_empty(device=device)
    generator = torch.Generator(device=device).manual_seed(seed)
    for module in unet.modules():
        weight: Any = getattr(module, "weight", None)
        bias: Any = getattr(module, "bias", None)
        if weight is None:
            continue
        if isinstance(module, (nn.GroupNorm, nn.LayerNorm)):
            weight.fill_(1.0)
        else:
            weight.normal_(0.0, weight[0].numel() ** -0.5, generator=generator)
        if bias is not None:
            bias.zero_()
    return unet


def with_the_same_weights(unet: UNetModel) -> UNetModel:
    """Modules of their own around the very same parameters, so that what is hung onto them reaches nobody else."""
    return copy.deepcopy(unet, {id(parameter): parameter for parameter in unet.parameters()})
