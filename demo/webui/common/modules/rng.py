"""Noise that depends on each image's own seed, not on its place in a batch."""

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


class ImageRNG:
    """One generator per image: the first call gives the starting noise, later ones what the sampler asks for."""

    def __init__(self, shape: Any, seeds: list[int]) -> None:
        self.shape = tuple(map(int, shape))
        self.seeds = seeds
        self.generators = [create_generator(seed) for seed in seeds]
        self.is_first = True

    def first(self) -> torch.Tensor:
        noise = [randn(seed, self.shape, generator=generator) for seed, generator in zip(self.seeds, self.generators)]
        return torch.stack(noise).to(shared.device)

    def next(self) -> torch.Tensor:
        if self.is_first:
            self.is_first = False
            return self.first()
        return torch.stack([randn_without_seed(self.shape, g) for g in self.generators]).to(shared.device)


for _name in ("randn", "randn_local", "randn_like", "randn_without_seed", "manual_seed"):
    setattr(devices, _name, globals()[_name])
