"""Noise schedules by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import k_diffusion.sampling
import torch


@dataclass
class Scheduler:
    name: str
    label: str
    function: Callable | None
    default_rho: float = -1
    need_inner_model: bool = False
    aliases: list[str] | None = None


def uniform(n: int, sigma_min: float, sigma_max: float, inner_model: Any, device: Any) -> torch.Tensor:
    return inner_model.get_sigmas(n).to(device)


def sgm_uniform(n: int, sigma_min: float, sigma_max: float, inner_model: Any, device: Any) -> torch.Tensor:
    """Evenly spaced timesteps, without the last one."""
    first = float(inner_model.sigma_to_t(torch.tensor(sigma_max)))
    last = float(inner_model.sigma_to_t(torch.tensor(sigma_min)))
    steps = torch.linspace(first, last, n + 1)[:-1]
    return torch.tensor([*(float(inner_model.t_to_sigma(t)) for t in steps), 0.0], device=device)


def simple(n: int, sigma_min: float, sigma_max: float, inner_model: Any, device: Any) -> torch.Tensor:
    stride = len(inner_model.sigmas) / n
    picked = [float(inner_model.sigmas[-(1 + int(i * stride))]) for i in range(n)]
    return torch.tensor([*picked, 0.0], device=device)


schedulers = [
    Scheduler("automatic", "Automatic", None),
    Scheduler("uniform", "Uniform", uniform, need_inner_model=True),
    Scheduler("karras", "Karras", k_diffusion.sampling.get_sigmas_karras, default_rho=7.0),
    Scheduler("exponential", "Exponential", k_diffusion.sampling.get_sigmas_exponential),
    Scheduler("polyexponential", "Polyexponential", k_diffusion.sampling.get_sigmas_polyexponential, default_rho=1.0),
    Scheduler("sgm_uniform", "SGM Uniform", sgm_uniform, need_inner_model=True, aliases=["SGMUniform"]),
    Scheduler("simple", "Simple", simple, need_inner_model=True),
]
schedulers_map = {**{x.name: x for x in schedulers}, **{x.label: x for x in schedulers}}
