"""The places where this host's samplers differ from A1111's: the predictor's schedule, loading, and the refiner."""

from __future__ import annotations

from typing import Any

import k_diffusion.external
import torch

from modules import shared


class ForgeScheduleLinker(torch.nn.Module):
    """Gives samplers and schedulers the predictor's sigmas."""

    def __init__(self, predictor: Any) -> None:
        super().__init__()
        self.predictor = predictor

    @property
    def sigmas(self) -> torch.Tensor:
        return self.predictor.sigmas

    @property
    def log_sigmas(self) -> torch.Tensor:
        return self.predictor.log_sigmas

    @property
    def sigma_min(self) -> torch.Tensor:
        return self.predictor.sigma_min

    @property
    def sigma_max(self) -> torch.Tensor:
        return self.predictor.sigma_max

    def get_sigmas(self, n: int | None = None) -> torch.Tensor:
        if n is None:
            steps = self.sigmas.flip(0)
        else:
            steps = self.t_to_sigma(torch.linspace(len(self.sigmas) - 1, 0, n, device=self.sigmas.device))
        return torch.cat([steps, steps.new_zeros([1])])

    def sigma_to_t(self, sigma: torch.Tensor, quantize: bool | None = None) -> torch.Tensor:
        return self.predictor.timestep(sigma)

    def t_to_sigma(self, t: torch.Tensor) -> torch.Tensor:
        return self.predictor.sigma(t)


k_diffusion.external.ForgeScheduleLinker = ForgeScheduleLinker


def k_denoiser() -> Any:
    model_wrap = ForgeScheduleLinker(shared.sd_model.forge_objects.unet.model.predictor)
    # Past nn.Module's registration: the engine is no module.
    model_wrap.inner_model = shared.sd_model
    return model_wrap


def prepare(model_wrap: Any, x: torch.Tensor) -> None:
    """Loads the UNet, which is when LoRA weights are merged."""
    from backend.sampling.sampling_function import sampling_prepare

    sampling_prepare(model_wrap.inner_model.forge_objects.unet)


def scale_noise(model_wrap: Any, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    return model_wrap.predictor.noise_scaling(sigma, x, torch.zeros_like(x))


def add_noise(model_wrap: Any, x: torch.Tensor, noise: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    return model_wrap.predictor.noise_scaling(sigma, noise, x.to(noise))


def apply_refiner(cfg_denoiser: Any, x: torch.Tensor) -> bool:
    """Builds the refiner's engine in the middle of the run; nothing that extensions put on the old one is on it."""
    from backend.sampling.sampling_function import sampling_prepare
    from common.host.denoiser import due_refiner
    from modules import extra_networks, sd_models
    from modules_forge import main_entry

    p = cfg_denoiser.p
    info = due_refiner(p, cfg_denoiser.step / cfg_denoiser.total_steps, shared.sd_model)
    if info is None:
        return False
    with sd_models.SkipWritingToConfig():
        first = shared.opts.sd_model_checkpoint
        if main_entry.checkpoint_change(info.short_title, save=False, refresh=False):
            try:
                main_entry.refresh_model_loading_parameters()
                sd_models.forge_model_reload()
            finally:
                main_entry.checkpoint_change(first, save=False, refresh=True)
    if not p.disable_extra_networks:
        extra_networks.activate(p, p.extra_network_data)
    p.setup_conds()
    cfg_denoiser.update_inner_model()
    sampling_prepare(sd_models.model_data.get_sd_model().forge_objects.unet)
    return True
