"""SD3's transformer (Esser et al. 2024, arXiv 2403.03206) at any width, with the names of its checkpoints.

Two streams, image and text, meet in every attention. Queries and keys are normalised, as in SD3.5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FREQUENCIES = 256
"""Width of the time's sines and cosines."""


@dataclass(frozen=True)
class MMDiTShape:
    """Of a transformer.

    Attributes:
        width: of both streams.
        depth: blocks.
        heads: of every attention.
        context: width of the text's tokens, and of their mean.
        channels: of latents.
        patch: side of the squares of latents that make a token.
        base: rows, and columns, of tokens at the size of training; positions are counted in these.
        largest: rows, and columns, of tokens that have a position.
    """

    width: int = 128
    depth: int = 6
    heads: int = 4
    context: int = 96
    channels: int = 4
    patch: int = 2
    base: int = 8
    largest: int = 24


class Embedder(nn.Module):
    """Of a vector: two layers."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(x)


class PatchEmbedder(nn.Module):
    """Latents ``[n, c, h, w]`` to tokens ``[n, rows * columns, width]``."""

    def __init__(self, shape: MMDiTShape) -> None:
        super().__init__()
        self.proj = nn.Conv2d(shape.channels, shape.width, shape.patch, stride=shape.patch)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """The projections of one stream."""

    def __init__(self, shape: MMDiTShape, answers: bool) -> None:
        super().__init__()
        self.heads = shape.heads
        self.qkv = nn.Linear(shape.width, 3 * shape.width)
        self.ln_q, self.ln_k = (RMSNorm(shape.width // shape.heads, eps=1e-6) for _ in range(2))
        if answers:
            self.proj = nn.Linear(shape.width, shape.width)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, ``[n, heads, tokens, width / heads]``."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.ln_q(q), self.ln_k(k), v


class RMSNorm(nn.RMSNorm):
    """With its weight in the precision of the input, for which torch has one kernel."""

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


class MLP(nn.Module):
    """The feed-forward."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class Block(nn.Module):
    """One stream's half of a block; without ``answers`` it is only attended to."""

    def __init__(self, shape: MMDiTShape, answers: bool = True) -> None:
        super().__init__()
        self.answers = answers
        self.attn = Attention(shape, answers)
        self.adaLN_modulation = modulation(shape.width, 6 if answers else 2)
        if answers:
            self.mlp = MLP(shape.width)

    def before(self, x: Tensor, c: Tensor) -> tuple[tuple[Tensor, Tensor, Tensor], tuple[Tensor, ...]]:
        """Queries, keys and values, and what ``after`` needs of the modulation by ``c``."""
        shift, scale, *rest = self.adaLN_modulation(c)[:, None].chunk(6 if self.answers else 2, dim=-1)
        return self.attn.split(modulated(x, shift, scale)), tuple(rest)

    def after(self, x: Tensor, attended: Tensor, rest: tuple[Tensor, ...]) -> Tensor:
        """The stream with attention's and the feed-forward's outputs added."""
        gate, shift, scale, gate_mlp = rest
        x = torch.addcmul(x, gate, self.attn.proj(attended))
        return torch.addcmul(x, gate_mlp, self.mlp(modulated(x, shift, scale)))


class JointBlock(nn.Module):
    """A block of both streams."""

    def __init__(self, shape: MMDiTShape, last: bool) -> None:
        super().__init__()
        self.x_block, self.context_block = Block(shape), Block(shape, answers=not last)

    def forward(self, x: Tensor, context: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        ours, rest = self.x_block.before(x, c)
        theirs, rest_of_context = self.context_block.before(context, c)
        q, k, v = (torch.cat(pair, dim=2) for pair in zip(ours, theirs))
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        own, others = attended.split([x.shape[1], context.shape[1]], dim=1)
        if self.context_block.answers:
            context = self.context_block.after(context, others, rest_of_context)
        return self.x_block.after(x, own, rest), context


class FinalLayer(nn.Module):
    """Tokens to patches of the prediction."""

    def __init__(self, shape: MMDiTShape) -> None:
        super().__init__()
        self.linear = nn.Linear(shape.width, shape.patch**2 * shape.channels)
        self.adaLN_modulation = modulation(shape.width, 2)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(c)[:, None].chunk(2, dim=-1)
        return self.linear(modulated(x, shift, scale))


class MMDiT(nn.Module):
    """Predicts the velocity, noise minus latents."""

    def __init__(self, shape: MMDiTShape) -> None:
        super().__init__()
        self.shape = shape
        self.x_embedder = PatchEmbedder(shape)
        self.t_embedder = Embedder(FREQUENCIES, shape.width)
        self.y_embedder = Embedder(shape.context, shape.width)
        self.context_embedder = nn.Linear(shape.context, shape.width)
        self.joint_blocks = nn.ModuleList(JointBlock(shape, i == shape.depth - 1) for i in range(shape.depth))
        self.final_layer = FinalLayer(shape)
        self.register_buffer("pos_embed", positions(shape))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        # At the start every block passes its input on, and the prediction is zero (Peebles and Xie 2023, "adaLN-Zero").
        for name, parameter in self.named_parameters():
            if "adaLN_modulation" in name or "final_layer" in name:
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        """The velocity.

        Args:
            x: latents ``[n, channels, h, w]``; sides that patches do not divide are continued from the other end.
            t: time ``[n]``, from 0 at the latents to 1 at the noise.
            context: tokens of the text ``[n, tokens, context]``.
        """
        height, width = x.shape[-2:]
        patch = self.shape.patch
        x = F.pad(x, (0, -width % patch, 0, -height % patch), mode="circular")
        rows, columns = (side // patch for side in x.shape[-2:])
        c = self.t_embedder(waves(1000 * t)) + self.y_embedder(context.mean(dim=1))
        x = self.x_embedder(x) + self._positions(rows, columns)
        context = self.context_embedder(context)
        for block in self.joint_blocks:
            x, context = block(x, context, c)
        patches = self.final_layer(x, c).unflatten(1, (rows, columns)).unflatten(-1, (patch, patch, -1))
        out = patches.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)
        return out[..., :height, :width]

    def _positions(self, rows: int, columns: int) -> Tensor:
        """Those in the middle of the table."""
        largest = self.shape.largest
        top, left = (largest - rows) // 2, (largest - columns) // 2
        table = self.pos_embed.unflatten(1, (largest, largest))
        return table[:, top : top + rows, left : left + columns].flatten(1, 2)


def modulation(width: int, parts: int) -> nn.Sequential:
    """From time and text to shifts, scales and gates."""
    return nn.Sequential(nn.SiLU(), nn.Linear(width, parts * width))


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Normalised, scaled and shifted."""
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=1e-6), 1 + scale)


def waves(values: Tensor, width: int = FREQUENCIES, period: float = 10000.0) -> Tensor:
    """Cosines, then sines, of ``values`` at falling frequencies, ``[..., width]``."""
    half = width // 2
    frequencies = torch.exp(-math.log(period) * torch.arange(half, device=values.device) / half)
    angles = values[..., None].float() * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def positions(shape: MMDiTShape) -> Tensor:
    """The table ``[1, largest * largest, width]``: half of a row's entries tell the column, half the row."""
    places = torch.arange(shape.largest) * shape.base / shape.largest
    half = waves(places, shape.width // 2)
    half = torch.cat(half.chunk(2, dim=-1)[::-1], dim=-1)  # sines first
    columns = half[None].expand(shape.largest, -1, -1)
    rows = half[:, None].expand(-1, shape.largest, -1)
    return torch.cat([columns, rows], dim=-1).flatten(0, 1)[None]
