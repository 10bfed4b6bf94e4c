"""The places where this host's samplers differ from Forge's: the denoiser around the model, and the refiner."""

from __future__ import annotations

from typing import Any

import k_diffusion.external
import torch

from modules import devices, shared
from modules.shared import opts


def k_denoiser() -> Any:
    model = shared.sd_model
    external = k_diffusion.external
    kind = external.CompVisVDenoiser if model.parameterization == "v" else external.CompVisDenoiser
    return kind(model, quantize=opts.enable_quantization)


def prepare(model_wrap: Any, x: torch.Tensor) -> None:
    """Weights and LoRA are in place before sampling."""


def scale_noise(model_wrap: Any, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    return x * sigma


def add_noise(model_wrap: Any, x: torch.Tensor, noise: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    return x + noise * sigma


def _completed_ratio(cfg_denoiser: Any, sigma: torch.Tensor) -> float:
    """How far sampling has come by the noise that is left."""
    try:
        sigmas = cfg_denoiser.inner_model.sigmas.to(sigma.device)
        timestep = int(torch.argmin(torch.abs(sigmas - torch.max(sigma))))
    except AttributeError:
        # Timestep samplers have no sigmas: there, sigma is the timestep.
        timestep = int(torch.max(sigma))
    return (999 - timestep) / 1000


def apply_refiner(cfg_denoiser: Any, sigma: torch.Tensor) -> bool:
    """Loads the refiner over the running model once its time has come; True when it did."""
    from common.host.denoiser import due_refiner
    from modules import sd_models

    p = cfg_denoiser.p
    info = due_refiner(p, _completed_ratio(cfg_denoiser, sigma), shared.sd_model)
    if info is None:
        return False
    with sd_models.SkipWritingToConfig():
        sd_models.reload_model_weights(info=info)
    devices.torch_gc()
    p.setup_conds()
    cfg_denoiser.update_inner_model()
    return True
