"""A UNet with the layer names of the LDM checkpoints (SD1, SD2, SDXL), of any width and depth.

The names are the contract: ``input_blocks.N.M``, ``middle_block.M``, ``output_blocks.N.M``, and inside them
``transformer_blocks.i.{attn1,attn2}.{to_q,to_k,to_v,to_out.0}`` and ``ff.net.{0.proj,2}``. Layers are made through
``ops`` (``torch.nn`` or a class with the same four names), because Forge brings its own Linear.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class UNetConfig:
    """The defaults are the SD1.5 layout, narrow: 16 transformer blocks."""

    in_channels: int = 4
    out_channels: int = 4
    model_channels: int = 32
    num_res_blocks: int = 2
    channel_mult: tuple[int, ...] = (1, 2, 4, 4)
    transformer_depth: tuple[int, ...] = (1, 1, 1, 0)
    transformer_depth_middle: int = 1
    context_dim: int = 768
    head_channels: int = 16
    use_linear_in_transformer: bool = False
    adm_in_channels: int | None = None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> UNetConfig:
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def timestep_embedding(timesteps: Tensor, dim: int, max_period: float = 10000.0) -> Tensor:
    """Sinusoids of the timestep: cosines in the first half, sines in the second."""
    half = dim // 2
    freqs = torch.exp(-math.log(max_period) * torch.arange(half, dtype=torch.float32, device=timesteps.device) / half)
    angles = timesteps[:, None].float() * freqs[None]
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def group_norm(channels: int, ops: Any, eps: float = 1e-5) -> nn.Module:
    """32 groups as in the originals, fewer where the width does not divide."""
    return ops.GroupNorm(math.gcd(32, channels), channels, eps=eps)


class ResBlock(nn.Module):
    def __init__(self, channels: int, emb_channels: int, out_channels: int, ops: Any = nn) -> None:
        super().__init__()
        self.channels = channels
        self.out_channels = out_channels
        conv = ops.Conv2d(channels, out_channels, 3, padding=1)
        self.in_layers = nn.Sequential(group_norm(channels, ops), nn.SiLU(), conv)
        self.emb_layers = nn.Sequential(nn.SiLU(), ops.Linear(emb_channels, out_channels))
        conv = ops.Conv2d(out_channels, out_channels, 3, padding=1)
        self.out_layers = nn.Sequential(group_norm(out_channels, ops), nn.SiLU(), nn.Dropout(0.0), conv)
        same = channels == out_channels
        self.skip_connection = nn.Identity() if same else ops.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.in_layers(x) + self.emb_layers(emb)[:, :, None, None]
        return self.skip_connection(x) + self.out_layers(h)


class Downsample(nn.Module):
    def __init__(self, channels: int, ops: Any = nn) -> None:
        super().__init__()
        self.op = ops.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class Upsample(nn.Module):
    def __init__(self, channels: int, ops: Any = nn) -> None:
        super().__init__()
        self.conv = ops.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, output_size: tuple[int, int] | None = None) -> Tensor:
        # The skip connection may be odd-sized (a 72 px picture has 9 latent rows), so its size wins over "twice".
        size = output_size or (x.shape[2] * 2, x.shape[3] * 2)
        return self.conv(F.interpolate(x, size=size, mode="nearest"))


class CrossAttention(nn.Module):
    def __init__(self, dim: int, context_dim: int | None, heads: int, ops: Any = nn) -> None:
        super().__init__()
        context_dim = context_dim or dim
        self.heads = heads
        self.to_q = ops.Linear(dim, dim, bias=False)
        self.to_k = ops.Linear(context_dim, dim, bias=False)
        self.to_v = ops.Linear(context_dim, dim, bias=False)
        self.to_out = nn.Sequential(ops.Linear(dim, dim), nn.Dropout(0.0))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        b, n, c = q.shape
        q, k, v = (t.reshape(b, -1, self.heads, c // self.heads).transpose(1, 2) for t in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        context = x if context is None else context
        return self.to_out(self.attend(self.to_q(x), self.to_k(context), self.to_v(context)))


class GEGLU(nn.Module):
    def __init__(self, dim_in: int, dim_out: int, ops: Any = nn) -> None:
        super().__init__()
        self.proj = ops.Linear(dim_in, dim_out * 2)

    def forward(self, x: Tensor) -> Tensor:
        x, gate = self.proj(x).chunk(2, dim=-1)
        return x * F.gelu(gate)


class FeedForward(nn.Module):
    def __init__(self, dim: int, ops: Any = nn, mult: int = 4) -> None:
        super().__init__()
        self.net = nn.Sequential(GEGLU(dim, dim * mult, ops), nn.Dropout(0.0), ops.Linear(dim * mult, dim))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class BasicTransformerBlock(nn.Module):
    def __init__(self, dim: int, heads: int, context_dim: int, ops: Any = nn) -> None:
        super().__init__()
        self.attn1 = CrossAttention(dim, None, heads, ops)
        self.ff = FeedForward(dim, ops)
        self.attn2 = CrossAttention(dim, context_dim, heads, ops)
        self.norm1 = ops.LayerNorm(dim)
        self.norm2 = ops.LayerNorm(dim)
        self.norm3 = ops.LayerNorm(dim)

    def forward(self, x: Tensor, context: Tensor | None = None, transformer_options: dict | None = None) -> Tensor:
        return self._forward(x, context, transformer_options)

    def _forward(self, x: Tensor, context: Tensor | None = None, transformer_options: dict | None = None) -> Tensor:
        x = x + self.self_attention(self.norm1(x), transformer_options)
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))

    def self_attention(self, x: Tensor, transformer_options: dict | None) -> Tensor:
        """Hook point: Forge's attention patches act here."""
        return self.attn1(x)


class SpatialTransformer(nn.Module):
    block_class: type[BasicTransformerBlock] = BasicTransformerBlock

    def __init__(self, channels: int, config: UNetConfig, depth: int, ops: Any = nn) -> None:
        super().__init__()
        heads = max(1, channels // config.head_channels)
        self.use_linear = config.use_linear_in_transformer
        self.norm = group_norm(channels, ops, eps=1e-6)
        self.proj_in = ops.Linear(channels, channels) if self.use_linear else ops.Conv2d(channels, channels, 1)
        blocks = [self.block_class(channels, heads, config.context_dim, ops) for _ in range(depth)]
        self.transformer_blocks = nn.ModuleList(blocks)
        self.proj_out = ops.Linear(channels, channels) if self.use_linear else ops.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, context: Tensor | None = None, transformer_options: dict | None = None) -> Tensor:
        b, c, h, w = x.shape
        tokens = self.norm(x)
        if not self.use_linear:
            tokens = self.proj_in(tokens)
        tokens = tokens.flatten(2).transpose(1, 2)
        if self.use_linear:
            tokens = self.proj_in(tokens)
        for index, block in enumerate(self.transformer_blocks):
            if transformer_options is not None:
                transformer_options["block_index"] = index
            tokens = block(tokens, context, transformer_options)
        if self.use_linear:
            tokens = self.proj_out(tokens)
        tokens = tokens.transpose(1, 2).reshape(b, c, h, w)
        if not self.use_linear:
            tokens = self.proj_out(tokens)
        return x + tokens


class TimestepEmbedSequential(nn.Sequential):
    """A Sequential that hands the time embedding and the context to the children that take them."""

    def forward(
        self,
        x: Tensor,
        emb: Tensor,
        context: Tensor | None = None,
        transformer_options: dict | None = None,
        output_size: tuple[int, int] | None = None,
    ) -> Tensor:
        for layer in self:
            if isinstance(layer, ResBlock):
                x = layer(x, emb)
            elif isinstance(layer, SpatialTransformer):
                x = layer(x, context, transformer_options)
            elif isinstance(layer, Upsample):
                x = layer(x, output_size)
            else:
                x = layer(x)
        return x


class UNetModel(nn.Module):
    transformer_class: type[SpatialTransformer] = SpatialTransformer

    def __init__(self, config: UNetConfig, ops: Any = nn) -> None:
        super().__init__()
        self.unet_config = config
        self.in_channels = config.in_channels
        self.out_channels = config.out_channels
        self.model_channels = config.model_channels
        self.num_classes = "sequential" if config.adm_in_channels else None
        width = config.model_channels
        emb = width * 4
        self.time_embed = nn.Sequential(ops.Linear(width, emb), nn.SiLU(), ops.Linear(emb, emb))
        if config.adm_in_channels:
            label = nn.Sequential(ops.Linear(config.adm_in_channels, emb), nn.SiLU(), ops.Linear(emb, emb))
            self.label_emb = nn.Sequential(label)

        def with_attention(channels_in: int, channels: int, depth: int) -> list[nn.Module]:
            layers: list[nn.Module] = [ResBlock(channels_in, emb, channels, ops)]
            if depth > 0:
                layers.append(self.transformer_class(channels, config, depth, ops))
            return layers

        first = ops.Conv2d(config.in_channels, width, 3, padding=1)
        self.input_blocks = nn.ModuleList([TimestepEmbedSequential(first)])
        skips, ch = [width], width
        levels = list(zip(config.channel_mult, config.transformer_depth))
        for level, (mult, depth) in enumerate(levels):
            for _ in range(config.num_res_blocks):
                self.input_blocks.append(TimestepEmbedSequential(*with_attention(ch, width * mult, depth)))
                ch = width * mult
                skips.append(ch)
            if level < len(levels) - 1:
                self.input_blocks.append(TimestepEmbedSequential(Downsample(ch, ops)))
                skips.append(ch)

        middle = with_attention(ch, ch, config.transformer_depth_middle)
        self.middle_block = TimestepEmbedSequential(*middle, ResBlock(ch, emb, ch, ops))

        self.output_blocks = nn.ModuleList()
        for level, (mult, depth) in reversed(list(enumerate(levels))):
            for index in range(config.num_res_blocks + 1):
                layers = with_attention(ch + skips.pop(), width * mult, depth)
                ch = width * mult
                if level and index == config.num_res_blocks:
                    layers.append(Upsample(ch, ops))
                self.output_blocks.append(TimestepEmbedSequential(*layers))
        conv = ops.Conv2d(width, config.out_channels, 3, padding=1)
        self.out = nn.Sequential(group_norm(ch, ops), nn.SiLU(), conv)

    @property
    def dtype(self) -> torch.dtype:
        return self.time_embed[0].weight.dtype

    @dtype.setter
    def dtype(self, value: torch.dtype) -> None:
        """Hosts assign it; the weights are what counts."""

    def embed(self, x: Tensor, timesteps: Tensor, y: Tensor | None) -> Tensor:
        emb = self.time_embed(timestep_embedding(timesteps, self.model_channels).to(x.dtype))
        if self.num_classes is not None:
            if y is None:
                raise ValueError("this UNet is class-conditional and needs y")
            emb = emb + self.label_emb(y.to(x.dtype))
        return emb

    def forward(
        self, x: Tensor, timesteps: Tensor | None = None, context: Tensor | None = None, y: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        emb = self.embed(x, timesteps, y)
        skips: list[Tensor] = []
        h = x
        for block in self.input_blocks:
            h = block(h, emb, context)
            skips.append(h)
        h = self.middle_block(h, emb, context)
        for block in self.output_blocks:
            h = torch.cat([h, skips.pop()], dim=1)
            size = tuple(skips[-1].shape[2:]) if skips else None
            h = block(h, emb, context, output_size=size)
        return self.out(h)
