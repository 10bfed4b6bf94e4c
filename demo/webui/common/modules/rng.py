"""Noise that depends on each image's own seed, not on its place in a batch."""

from __future__ import annotations

from typing import Any

import torch

from modules import devices, shared


def create_generator(seed: int) -> torch.Generator:
    return torch.Generator(devices.cpu).manual_seed(int(seed))


def randn_without_seed(shape: tuple[int, ...], generator: torch.Generator | None = None) -> torch.Tensor:
    return torch.randn(shape, device=devices.cpu, generator=generator).to(devices.device)


class ImageRNG:
    """One generator per image: the first call gives the starting noise, later ones what the sampler asks for."""

    def __init__(self, shape: Any, seeds: list[int]) -> None:
        self.shape = tuple(map(int, shape))
        self.seeds = seeds
        self.generators = [create_generator(seed) for seed in seeds]
        self.is_first = True

    def next(self) -> torch.Tensor:
        if self.is_first:
            self.is_first = False
            torch.manual_seed(int(self.seeds[-1]))  # the hosts seed torch's own generator, too
        return torch.stack([randn_without_seed(self.shape, g) for g in self.generators]).to(shared.device)
