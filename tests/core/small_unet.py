"""A small UNet with the module names of the LDM code base, for tests that have to run in milliseconds."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

WIDTH = 16
CONTEXT = 768


class OwnLinear(nn.Module):
    """A host's own Linear: no nn.Linear, and it casts its weight to the input's dtype at each call."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        plain = nn.Linear(in_features, out_features, bias)
        self.weight, self.bias = plain.weight, plain.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return nn.functional.linear(x, self.weight.to(x.dtype), bias)


class Fused(nn.Linear):
    """A Linear that computes in a way of its own, past any function that could be given another weight."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.matmul(x, self.weight.t()) + (0 if self.bias is None else self.bias)


class Attention(nn.Module):
    def __init__(self, context: int, linear: type[nn.Module]) -> None:
        super().__init__()
        self.to_q = linear(WIDTH, WIDTH, bias=False)
        self.to_k = linear(context, WIDTH, bias=False)
        self.to_v = linear(context, WIDTH, bias=False)
        self.to_out = nn.Sequential(linear(WIDTH, WIDTH), nn.Dropout(0.0))

    def forward(self, x: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        context = x if context is None else context
        scores = self.to_q(x) @ self.to_k(context).transpose(1, 2) / WIDTH**0.5
        return self.to_out(scores.softmax(-1) @ self.to_v(context))


class Gated(nn.Module):
    def __init__(self, linear: type[nn.Module]) -> None:
        super().__init__()
        self.proj = linear(WIDTH, 8 * WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        value, gate = self.proj(x).chunk(2, -1)
        return value * nn.functional.gelu(gate)


class FeedForward(nn.Module):
    def __init__(self, linear: type[nn.Module]) -> None:
        super().__init__()
        self.net = nn.Sequential(Gated(linear), nn.Dropout(0.0), linear(4 * WIDTH, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)


class TransformerBlock(nn.Module):
    def __init__(self, linear: type[nn.Module]) -> None:
        super().__init__()
        self.attn1, self.ff, self.attn2 = Attention(WIDTH, linear), FeedForward(linear), Attention(CONTEXT, linear)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(WIDTH) for _ in range(3))

    def forward(self, x: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    def __init__(self, linear: type[nn.Module]) -> None:
        super().__init__()
        self.proj_in, self.proj_out = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(linear)])

    def forward(self, x: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        batch, channels, height, width = x.shape
        tokens = self.proj_in(x.flatten(2).transpose(1, 2))
        for block in self.transformer_blocks:
            tokens = block(tokens, context)
        return x + self.proj_out(tokens).transpose(1, 2).reshape(batch, channels, height, width)


class Stage(nn.Sequential):
    """A convolution and a spatial transformer, as one entry of ``input_blocks`` and its like."""

    def __init__(self, linear: type[nn.Module]) -> None:
        super().__init__(nn.Conv2d(WIDTH, WIDTH, 3, padding=1), SpatialTransformer(linear))

    def forward(self, x: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        return self[1](torch.tanh(self[0](x)), context)


class SmallUNet(nn.Module):
    """2 blocks down, 1 mid, 3 up: 36 prunable layers. ``noisy`` makes a pass draw random numbers.

    ``passes`` counts the passes; ``drawn`` holds what each has drawn from torch, python and numpy.
    """

    def __init__(self, linear: type[nn.Module] = nn.Linear, noisy: bool = False) -> None:
        super().__init__()
        self.noisy, self.passes = noisy, 0
        self.drawn: list[tuple[float, float, float]] = []
        self.time_embed = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH))
        self.input_blocks = nn.ModuleList([nn.Conv2d(4, WIDTH, 3, padding=1), Stage(linear), Stage(linear)])
        self.middle_block = Stage(linear)
        self.output_blocks = nn.ModuleList([Stage(linear) for _ in range(3)])
        self.out = nn.Conv2d(WIDTH, 4, 3, padding=1)

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        self.passes += 1
        angles = timesteps[:, None].to(x.dtype) * torch.linspace(0.01, 1, WIDTH, dtype=x.dtype)
        h = self.input_blocks[0](x) + self.time_embed(torch.sin(angles))[:, :, None, None]
        if self.noisy:
            noise = torch.randn_like(h)
            numbers = (float(noise.flatten()[0]), random.random(), float(np.random.rand()))
            self.drawn.append(numbers)
            h = nn.functional.dropout(h + noise * numbers[1] * numbers[2], 0.2, training=True)
        for stage in [*self.input_blocks[1:], self.middle_block, *self.output_blocks]:
            h = stage(h, context)
        return self.out(h)


def make_unet(
    seed: int = 0, dtype: torch.dtype = torch.float32, linear: type[nn.Module] = nn.Linear, noisy: bool = False
) -> SmallUNet:
    """A UNet whose output depends on every prunable layer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = SmallUNet(linear, noisy)
    with torch.no_grad():
        for _, weight in prunable_weights(unet):
            weight.mul_(2.0)
    return unet.to(dtype).requires_grad_(False).eval()


def make_inputs(seed: int = 1, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, 4, 5, 6, generator=generator).to(dtype)
    context = torch.randn(2, 7, CONTEXT, generator=generator).to(dtype)
    return x, torch.tensor([3, 11]), context


def prunable_modules(unet: SmallUNet) -> Iterator[tuple[str, nn.Module]]:
    """(group, Linear) of the layers the paper prunes, found by structure and not by name."""
    stages = [("down", unet.input_blocks), ("mid", unet.middle_block), ("up", unet.output_blocks)]
    for group, stage in stages:
        for block in stage.modules():
            if isinstance(block, TransformerBlock):
                attention, net = block.attn1, block.ff.net
                for module in (
                    attention.to_q,
                    attention.to_k,
                    attention.to_v,
                    attention.to_out[0],
                    net[0].proj,
                    net[2],
                ):
                    yield group, module


def prunable_weights(unet: SmallUNet) -> Iterator[tuple[str, torch.Tensor]]:
    for group, module in prunable_modules(unet):
        yield group, module.weight


def masked_copy(unet: SmallUNet, ratios: tuple[float, float, float]) -> SmallUNet:
    """The authors' way: a deep copy whose weights are masked with kthvalue thresholds."""
    pruned = copy.deepcopy(unet)
    for group, ratio in zip(("down", "mid", "up"), ratios):
        weights = [weight for name, weight in prunable_weights(pruned) if name == group]
        magnitudes = torch.cat([weight.abs().flatten() for weight in weights])
        rank = int(magnitudes.numel() * ratio)
        if rank:
            threshold = magnitudes.kthvalue(rank).values
            for weight in weights:
                weight.mul_(weight.abs() > threshold)
    return pruned
