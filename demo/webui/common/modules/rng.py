"""Noise that depends on each picture's own seed, not on its place in a batch."""

from __future__ import annotations

from typing import Any

import torch

from modules import devices, shared


def create_generator(seed: int) -> torch.Generator:
    return torch.Generator(devices.cpu).manual_seed(int(seed))


def manual_seed(seed: int) -> None:
    torch.manual_seed(int(seed))


def randn(seed: int, shape: tuple[int, ...], generator: torch.Generator | None = None) -> torch.Tensor:
    manual_seed(seed)
    return torch.randn(shape, device=devices.cpu, generator=generator).to(devices.device)


def randn_local(seed: int, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randn(shape, device=devices.cpu, generator=create_generator(seed)).to(devices.device)


def randn_like(x: torch.Tensor) -> torch.Tensor:
    return torch.randn_like(x, device=devices.cpu).to(x.device)


def randn_without_seed(shape: tuple[int, ...], generator: torch.Generator | None = None) -> torch.Tensor:
    return torch.randn(shape, device=devices.cpu, generator=generator).to(devices.device)


def get_noise_source_type() -> str:
    return shared.opts.randn_source


def slerp(val: float, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """Interpolation along the sphere; a straight line where the two are almost parallel."""
    cosine = (low / low.norm(dim=1, keepdim=True) * (high / high.norm(dim=1, keepdim=True))).sum(1)
    if cosine.mean() > 0.9995:
        return low * (1 - val) + high * val
    angle = cosine.acos()
    a, b = ((1.0 - val) * angle).sin() / angle.sin(), (val * angle).sin() / angle.sin()
    return a.unsqueeze(1) * low + b.unsqueeze(1) * high


class ImageRNG:
    """One generator per picture: the first call gives the starting noise, later ones what the sampler asks for."""

    def __init__(self, shape: Any, seeds: list[int], subseeds: list[int] | None = None, subseed_strength: float = 0.0,
                 seed_resize_from_h: int = 0, seed_resize_from_w: int = 0) -> None:
        self.shape = tuple(map(int, shape))
        self.seeds = seeds
        self.subseeds = subseeds
        self.subseed_strength = subseed_strength
        self.seed_resize_from_h = seed_resize_from_h
        self.seed_resize_from_w = seed_resize_from_w
        self.generators = [create_generator(seed) for seed in seeds]
        self.is_first = True

    def first(self) -> torch.Tensor:
        pictures = []
        for index, (seed, generator) in enumerate(zip(self.seeds, self.generators)):
            noise = randn(seed, self.shape, generator=generator)
            if self.subseeds is not None and self.subseed_strength != 0:
                subseed = self.subseeds[index] if index < len(self.subseeds) else 0
                noise = slerp(self.subseed_strength, noise, randn(subseed, self.shape))
            pictures.append(noise)
        delta = shared.opts.eta_noise_seed_delta or 0
        if delta:
            self.generators = [create_generator(seed + delta) for seed in self.seeds]
        return torch.stack(pictures).to(shared.device)

    def next(self) -> torch.Tensor:
        if self.is_first:
            self.is_first = False
            return self.first()
        return torch.stack([randn_without_seed(self.shape, g) for g in self.generators]).to(shared.device)


for _name in ("randn", "randn_local", "randn_like", "randn_without_seed", "manual_seed"):
    setattr(devices, _name, globals()[_name])
