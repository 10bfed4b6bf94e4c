"""What both hosts' denoisers are to a sampler: state, the masked blend of inpainting, the uncond-skipping schedule."""

from __future__ import annotations

from typing import Any

import torch

from modules import scripts


class Denoiser(torch.nn.Module):
    """What a sampler calls as its model. ``step`` and ``total_steps`` count these calls."""

    def __init__(self, sampler: Any) -> None:
        super().__init__()
        self.model_wrap: Any = None
        self.mask: Any = None
        self.nmask: Any = None
        self.init_latent: Any = None
        self.steps: int | None = None
        self.total_steps: int | None = None
        self.step = 0
        self.padded_cond_uncond = False
        self.sampler = sampler
        self.p: Any = None

    @property
    def inner_model(self) -> Any:
        raise NotImplementedError

    def update_inner_model(self) -> None:
        """After a change of model in mid-run: a new denoiser around it, and its own conditionings."""
        self.model_wrap = None
        c, uc = self.p.get_conds()
        self.sampler.sampler_extra_args["cond"] = c
        self.sampler.sampler_extra_args["uncond"] = uc

    def skips_uncond(self, sigma: torch.Tensor, s_min_uncond: float) -> bool:
        """Every second step once there is little noise, if so set."""
        skips = bool(self.step % 2 and s_min_uncond > 0 and sigma[0] < s_min_uncond)
        if skips:
            self.p.extra_generation_params["NGMS"] = s_min_uncond
        return skips

    def blend(self, latent: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """The masked part of a latent, and the rest of the one it started from."""
        blended = latent * self.nmask + self.init_latent * self.mask
        if self.p.scripts is not None:
            args = scripts.MaskBlendArgs(latent, self.nmask, self.init_latent, self.mask, blended, self, sigma)
            self.p.scripts.on_mask_blend(self.p, args)
            blended = args.blended_latent
        return blended


def due_refiner(p: Any, completed: float, model: Any) -> Any:
    """The checkpoint to go on with, noted in the infotext; None before its time, or if it is there already."""
    info = p.refiner_checkpoint_info
    early = p.refiner_switch_at is not None and completed < p.refiner_switch_at
    first_of_two = getattr(p, "enable_hr", False) and not p.is_hr_pass
    if info is None or early or first_of_two or model.sd_checkpoint_info == info:
        return None
    p.extra_generation_params["Refiner"] = info.short_title
    p.extra_generation_params["Refiner switch at"] = p.refiner_switch_at
    return info
