"""The transformers of SD3 and Flux.1 at any width and depth, their blocks with the layer names of the checkpoints.

They compute what the hosts' transformers compute, but for the position embeddings and the norms of queries and keys,
which cost next to nothing beside the rest.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from crdiff.bench.unet import timestep_embedding

_PATCH = 2
_TIME = 256
_GROWTH = 4


@dataclass(frozen=True)
class TransformerShape:
    """What decides a transformer's layers.

    Attributes:
        head_channels: channels of a head.
        heads: attention heads; the width is theirs together.
        blocks: of two streams.
        single_blocks: of one stream.
        context_dim: width of the text encoding.
        adm_in_channels: width of the pooled text.
        in_channels: of the latents, and of the prediction.
    """

    head_channels: int
    heads: int
    blocks: int
    single_blocks: int
    context_dim: int
    adm_in_channels: int
    in_channels: int = 16

    @property
    def width(self) -> int:
        """Of a token."""
        return self.heads * self.head_channels

    def scaled(self, scale: float) -> TransformerShape:
        """The same layout with a share of the heads, the text's width with them."""
        heads = max(1, round(self.heads * scale))

        def narrow(width: int) -> int:
            return max(8, round(width * heads / self.heads / 8) * 8)

        narrowed = narrow(self.context_dim), narrow(self.adm_in_channels)
        return replace(self, heads=heads, context_dim=narrowed[0], adm_in_channels=narrowed[1])


class _Embedder(nn.Sequential):
    def __init__(self, channels: int, width: int) -> None:
        super().__init__(nn.Linear(channels, width), nn.SiLU(), nn.Linear(width, width))


class _Modulation(nn.Module):
    """Vectors (n, 1, width) each, from the embedding of time and pooled text."""

    def __init__(self, width: int, vectors: int) -> None:
        super().__init__()
        self.vectors, self.lin = vectors, nn.Linear(width, vectors * width)

    def forward(self, vec: Tensor) -> Sequence[Tensor]:
        return _vectors(self.lin(functional.silu(vec)), self.vectors)


class _Attention(nn.Module):
    """A stream's part of an attention; the last text stream of SD3 ends in it, without ``proj``."""

    def __init__(self, width: int, *, ends: bool = False) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = None if ends else nn.Linear(width, width)


class _Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, _GROWTH * width), nn.Linear(_GROWTH * width, width)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.fc2(_gelu(self.fc1(x)))
        return result


class _Gelu(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return _gelu(x)


def _vectors(joined: Tensor, number: int) -> Sequence[Tensor]:
    return joined[:, None].chunk(number, dim=-1)


def _gelu(x: Tensor) -> Tensor:
    return functional.gelu(x, approximate="tanh")


def _modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return functional.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift


def _attend(qkv: Tensor, heads: int) -> Tensor:
    """Attention within tokens (n, tokens, 3 * width)."""
    rows, tokens, _ = qkv.shape
    q, k, v = qkv.view(rows, tokens, 3, heads, -1).permute(2, 0, 3, 1, 4)
    return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(rows, tokens, -1)


@dataclass(frozen=True)
class _Stream:
    """A stream of a block of two."""

    vectors: Sequence[Tensor]
    attention: _Attention
    mlp: nn.Module | None

    def begin(self, x: Tensor) -> Tensor:
        """Queries, keys and values."""
        result: Tensor = self.attention.qkv(_modulated(x, *self.vectors[:2]))
        return result

    def end(self, x: Tensor, attended: Tensor) -> Tensor:
        """The stream behind the block."""
        if self.mlp is None or self.attention.proj is None:
            return x
        x = x + self.vectors[2] * self.attention.proj(attended)
        result: Tensor = x + self.vectors[5] * self.mlp(_modulated(x, *self.vectors[3:5]))
        return result


def _both(image: _Stream, text: _Stream, x: Tensor, context: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """A block of two streams: attention over both together, all else apart."""
    attended = _attend(torch.cat([text.begin(context), image.begin(x)], dim=1), heads)
    tokens = context.shape[1]
    return image.end(x, attended[:, tokens:]), text.end(context, attended[:, :tokens])


class _Half(nn.Module):
    """SD3's ``x_block`` and ``context_block``."""

    def __init__(self, width: int, *, ends: bool = False) -> None:
        super().__init__()
        self.attn = _Attention(width, ends=ends)
        self.mlp = None if ends else _Mlp(width)
        self.vectors = 2 if ends else 6
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, self.vectors * width))

    def stream(self, vec: Tensor) -> _Stream:
        return _Stream(_vectors(self.adaLN_modulation(vec), self.vectors), self.attn, self.mlp)


class _JointBlock(nn.Module):
    def __init__(self, shape: TransformerShape, *, last: bool) -> None:
        super().__init__()
        self.heads = shape.heads
        self.context_block, self.x_block = _Half(shape.width, ends=last), _Half(shape.width)

    def forward(self, x: Tensor, context: Tensor, vec: Tensor) -> tuple[Tensor, Tensor]:
        return _both(self.x_block.stream(vec), self.context_block.stream(vec), x, context, self.heads)


class _DoubleBlock(nn.Module):
    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.heads, width = shape.heads, shape.width
        self.img_mod, self.txt_mod = _Modulation(width, 6), _Modulation(width, 6)
        self.img_attn, self.txt_attn = _Attention(width), _Attention(width)
        self.img_mlp, self.txt_mlp = (
            nn.Sequential(nn.Linear(width, _GROWTH * width), _Gelu(), nn.Linear(_GROWTH * width, width))
            for _ in range(2)
        )

    def forward(self, x: Tensor, context: Tensor, vec: Tensor) -> tuple[Tensor, Tensor]:
        image = _Stream(self.img_mod(vec), self.img_attn, self.img_mlp)
        text = _Stream(self.txt_mod(vec), self.txt_attn, self.txt_mlp)
        return _both(image, text, x, context, self.heads)


class _SingleBlock(nn.Module):
    """Attention and feed-forward side by side, in two weights."""

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.heads, width = shape.heads, shape.width
        self.linear1 = nn.Linear(width, (3 + _GROWTH) * width)
        self.linear2 = nn.Linear((1 + _GROWTH) * width, width)
        self.modulation = _Modulation(width, 3)

    def forward(self, x: Tensor, vec: Tensor) -> Tensor:
        shift, scale, gate = self.modulation(vec)
        qkv, hidden = self.linear1(_modulated(x, shift, scale)).tensor_split([3 * x.shape[-1]], dim=-1)
        result: Tensor = x + gate * self.linear2(torch.cat([_attend(qkv, self.heads), _gelu(hidden)], dim=-1))
        return result


class _FinalLayer(nn.Module):
    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, channels)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, vec: Tensor) -> Tensor:
        result: Tensor = self.linear(_modulated(x, *_vectors(self.adaLN_modulation(vec), 2)))
        return result


class SD3Model(nn.Module):
    """SD3's transformer of a shape. Calls are those of ``UNetModel``; sides of the latents are even."""

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        width, channels = shape.width, shape.in_channels * _PATCH**2
        patches = nn.Conv2d(shape.in_channels, width, _PATCH, stride=_PATCH)
        self.x_embedder = nn.Sequential(OrderedDict(proj=patches))
        self.t_embedder, self.y_embedder = _Embedder(_TIME, width), _Embedder(shape.adm_in_channels, width)
        self.context_embedder = nn.Linear(shape.context_dim, width)
        last = shape.blocks - 1
        self.joint_blocks = nn.ModuleList(_JointBlock(shape, last=index == last) for index in range(shape.blocks))
        self.final_layer = _FinalLayer(width, channels)

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor, y: Tensor) -> Tensor:
        vec = self.t_embedder(timestep_embedding(timesteps, _TIME).to(x.dtype)) + self.y_embedder(y)
        tokens, text = self.x_embedder(x).flatten(2).transpose(1, 2), self.context_embedder(context)
        for block in self.joint_blocks:
            tokens, text = block(tokens, text, vec)
        return _unpatched(self.final_layer(tokens, vec), x)


class FluxModel(nn.Module):
    """Flux.1 schnell's transformer of a shape, which is dev's but for one embedder. Calls as of ``SD3Model``."""

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        width, channels = shape.width, shape.in_channels * _PATCH**2
        self.img_in, self.txt_in = nn.Linear(channels, width), nn.Linear(shape.context_dim, width)
        self.time_in, self.vector_in = _Embedder(_TIME, width), _Embedder(shape.adm_in_channels, width)
        self.double_blocks = nn.ModuleList(_DoubleBlock(shape) for _ in range(shape.blocks))
        self.single_blocks = nn.ModuleList(_SingleBlock(shape) for _ in range(shape.single_blocks))
        self.final_layer = _FinalLayer(width, channels)

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor, y: Tensor) -> Tensor:
        vec = self.time_in(timestep_embedding(timesteps, _TIME).to(x.dtype)) + self.vector_in(y)
        tokens = self.img_in(functional.pixel_unshuffle(x, _PATCH).flatten(2).transpose(1, 2))
        text = self.txt_in(context)
        for block in self.double_blocks:
            tokens, text = block(tokens, text, vec)
        tokens = torch.cat([text, tokens], dim=1)
        for block in self.single_blocks:
            tokens = block(tokens, vec)
        return _unpatched(self.final_layer(tokens[:, text.shape[1] :], vec), x)


def _unpatched(tokens: Tensor, x: Tensor) -> Tensor:
    """The prediction, of the shape of ``x``."""
    height, width = x.shape[2] // _PATCH, x.shape[3] // _PATCH
    return functional.pixel_shuffle(tokens.transpose(1, 2).reshape(len(x), -1, height, width), _PATCH)
