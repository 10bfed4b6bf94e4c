"""The UNet of LDM checkpoints (SD1, SD2, SDXL) at any width and depth, with the layer names of those checkpoints.

It computes what the hosts' UNets compute, module by module in the same order. Nothing but torch is imported here: the
demo's hosts load this file by its path, without the extension. Layers are looked up in ``torch.nn`` when a UNet is
made, so a host that puts layers of its own there gets a UNet of those.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class UNetShape:
    """What decides a UNet's layers; the names are those of the LDM configurations.

    Attributes:
        model_channels: width of the finest level.
        channel_mult: width of each level, in ``model_channels``, finest first.
        transformer_depth: transformer blocks in each spatial transformer of a level; 0 for none.
        transformer_depth_middle: the same for the middle block.
        context_dim: width of the text encoding.
        heads: attention heads, where all levels have the same number; else None, and ``head_channels`` decides.
        head_channels: channels of a head.
        use_linear_in_transformer: whether a spatial transformer's ``proj_in`` and ``proj_out`` are Linears.
        adm_in_channels: width of the vector of size and pooled text; None for models without one.
        num_res_blocks: ResBlocks of a level on the way down; there is one more on the way up.
        in_channels: of the latents, with the mask and the masked image for inpainting models.
        out_channels: of the prediction.
    """

    model_channels: int
    channel_mult: tuple[int, ...]
    transformer_depth: tuple[int, ...]
    transformer_depth_middle: int
    context_dim: int
    heads: int | None = None
    head_channels: int = 64
    use_linear_in_transformer: bool = False
    adm_in_channels: int | None = None
    num_res_blocks: int = 2
    in_channels: int = 4
    out_channels: int = 4

    def scaled(self, scale: float) -> UNetShape:
        """The same layout with every width multiplied by ``scale`` (to multiples of 8), the text's too.

        What share of the operations is pruned, or depends on the text alone, then stays about the same.
        """

        def narrow(width: int) -> int:
            return max(8, round(width * scale / 8) * 8)

        return replace(
            self,
            model_channels=narrow(self.model_channels),
            context_dim=narrow(self.context_dim),
            heads=None if self.heads is None else max(1, round(self.heads * scale)),
            adm_in_channels=None if self.adm_in_channels is None else narrow(self.adm_in_channels),
        )

    def heads_at(self, channels: int) -> int:
        """Number of heads of an attention layer: as in the originals, fewer where the width does not divide."""
        wanted = self.heads or max(1, channels // self.head_channels)
        return next(heads for heads in range(wanted, 0, -1) if channels % heads == 0)


def timestep_embedding(timesteps: Tensor, dim: int) -> Tensor:
    """Sinusoids of the timesteps (n,) as float32 (n, dim): cosines in the first half, sines in the second."""
    half = dim // 2
    powers = torch.arange(half, dtype=torch.float32, device=timesteps.device)
    angles = timesteps[:, None].float() * torch.exp(-math.log(10000.0) * powers / half)[None]
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


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
    """Twice the height and width, or ``size`` (height, width): half of an odd number was rounded up."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        size = size or (x.shape[2] * 2, x.shape[3] * 2)
        result: Tensor = self.conv(functional.interpolate(x, size, mode="nearest"))
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
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x), context)
        result: Tensor = x + self.ff(self.norm3(x))
        return result


class SpatialTransformer(nn.Module):
    """Transformer blocks over the pixels of a feature map."""

    def __init__(self, channels: int, depth: int, shape: UNetShape) -> None:
        super().__init__()
        self.linear = shape.use_linear_in_transformer
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
        result: Tensor = x + tokens
        return result


class TimestepEmbedSequential(nn.Sequential):
    """Hands the time embedding, the context and the size to grow to, to the children that take them."""

    def forward(  # type: ignore[override]
        self, x: Tensor, emb: Tensor, context: Tensor, size: tuple[int, int] | None = None
    ) -> Tensor:
        for layer in self:
            if isinstance(layer, ResBlock):
                x = layer(x, emb)
            elif isinstance(layer, SpatialTransformer):
                x = layer(x, context)
            elif isinstance(layer, Upsample):
                x = layer(x, size)
            else:
                x = layer(x)
        return x


class UNetModel(nn.Module):
    """The UNet of a shape.

    Args:
        shape: its layers' widths and number.
    """

    def __init__(self, shape: UNetShape) -> None:
        super().__init__()
        self.model_channels = width = shape.model_channels
        emb = 4 * width
        self.time_embed = nn.Sequential(nn.Linear(width, emb), nn.SiLU(), nn.Linear(emb, emb))
        if shape.adm_in_channels is not None:
            label = nn.Sequential(nn.Linear(shape.adm_in_channels, emb), nn.SiLU(), nn.Linear(emb, emb))
            self.label_emb = nn.Sequential(label)

        def block(channels: int, out_channels: int, depth: int) -> TimestepEmbedSequential:
            residual = ResBlock(channels, emb, out_channels)
            return TimestepEmbedSequential(
                residual, *([SpatialTransformer(out_channels, depth, shape)] if depth else [])
            )

        levels = list(zip(shape.channel_mult, shape.transformer_depth, strict=True))
        first = nn.Conv2d(shape.in_channels, width, 3, padding=1)
        self.input_blocks = nn.ModuleList([TimestepEmbedSequential(first)])
        channels, skips = width, [width]
        for level, (factor, depth) in enumerate(levels):
            for _ in range(shape.num_res_blocks):
                self.input_blocks.append(block(channels, factor * width, depth))
                channels = factor * width
                skips.append(channels)
            if level < len(levels) - 1:
                self.input_blocks.append(TimestepEmbedSequential(Downsample(channels)))
                skips.append(channels)
        self.middle_block = block(channels, channels, shape.transformer_depth_middle)
        self.middle_block.append(ResBlock(channels, emb, channels))
        self.output_blocks = nn.ModuleList()
        for level, (factor, depth) in reversed(list(enumerate(levels))):
            for index in range(shape.num_res_blocks + 1):
                grown = block(channels + skips.pop(), factor * width, depth)
                channels = factor * width
                if level and index == shape.num_res_blocks:
                    grown.append(Upsample(channels))
                self.output_blocks.append(grown)
        last = nn.Conv2d(channels, shape.out_channels, 3, padding=1)
        self.out = nn.Sequential(_group_norm(channels), nn.SiLU(), last)

    def embed(self, timesteps: Tensor, y: Tensor | None, dtype: torch.dtype) -> Tensor:
        """The embedding (n, 4 * model_channels) of the timesteps (n,), and of ``y`` where the UNet takes it."""
        emb: Tensor = self.time_embed(timestep_embedding(timesteps, self.model_channels).to(dtype))
        return emb if y is None else emb + self.label_emb(y.to(dtype))

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor, y: Tensor | None = None) -> Tensor:
        emb = self.embed(timesteps, y, x.dtype)
        skips: list[Tensor] = []
        for block in self.input_blocks:
            x = block(x, emb, context)
            skips.append(x)
        x = self.middle_block(x, emb, context)
        for block in self.output_blocks:
            x = torch.cat([x, skips.pop()], dim=1)
            x = block(x, emb, context, skips[-1].shape[2:] if skips else None)
        result: Tensor = self.out(x)
        return result
