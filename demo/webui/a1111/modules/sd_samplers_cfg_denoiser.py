"""Classifier-free guidance around the denoiser."""

from __future__ import annotations

from typing import Any

import torch

import modules.shared as shared
from common.host.denoiser import Denoiser
from modules import prompt_parser, sd_samplers_common
from modules.script_callbacks import (
    AfterCFGCallbackParams, CFGDenoisedParams, CFGDenoiserParams, cfg_after_cfg_callback, cfg_denoised_callback,
    cfg_denoiser_callback,
)
from modules.shared import opts, state


def catenate_conds(conds: list) -> Any:
    if isinstance(conds[0], dict):
        return {key: torch.cat([x[key] for x in conds]) for key in conds[0]}
    return torch.cat(conds)


def subscript_cond(cond: Any, a: int, b: int) -> Any:
    return {key: vec[a:b] for key, vec in cond.items()} if isinstance(cond, dict) else cond[a:b]


def pad_cond(tensor: Any, repeats: int, empty: torch.Tensor) -> Any:
    """Longer by ``repeats`` encodings of the empty prompt."""
    if isinstance(tensor, dict):
        tensor["crossattn"] = pad_cond(tensor["crossattn"], repeats, empty)
        return tensor
    return torch.cat([tensor, empty.repeat(tensor.shape[0], repeats, 1)], dim=1)


def _make_cond(cond: Any, image_cond: torch.Tensor) -> dict:
    if isinstance(cond, dict):
        return {**cond, "c_concat": [image_cond]}
    return {"c_crossattn": [cond], "c_concat": [image_cond]}


def _length(cond: Any) -> int:
    return (cond["crossattn"] if isinstance(cond, dict) else cond).shape[1]


def _rows(cond: Any) -> int:
    return (cond["crossattn"] if isinstance(cond, dict) else cond).shape[0]


class CFGDenoiser(Denoiser):
    mask_before_denoising = False

    def combine_denoised(self, x_out: torch.Tensor, conds_list: list, uncond: Any, cond_scale: float) -> torch.Tensor:
        base = x_out[-_rows(uncond):]
        denoised = base.clone()
        for i, conds in enumerate(conds_list):
            for index, weight in conds:
                denoised[i] += (x_out[index] - base[i]) * (weight * cond_scale)
        return denoised

    def get_pred_x0(self, x_in: torch.Tensor, x_out: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return x_out

    def pad_cond_uncond(self, cond: Any, uncond: Any) -> tuple:
        empty = shared.sd_model.cond_stage_model_empty_prompt
        repeats = (_length(cond) - _length(uncond)) // empty.shape[1]
        if repeats < 0:
            cond = pad_cond(cond, -repeats, empty)
        elif repeats > 0:
            uncond = pad_cond(uncond, repeats, empty)
        self.padded_cond_uncond = repeats != 0
        return cond, uncond

    def _denoise(self, x: torch.Tensor, sigma: torch.Tensor, tensor: Any, uncond: Any, image_cond: torch.Tensor,
                 batch_size: int, skip_uncond: bool) -> torch.Tensor:
        """One call for everything when lengths agree and the settings allow; otherwise in parts."""
        def call(a: int, b: int | None, cond: Any) -> torch.Tensor:
            return self.inner_model(x[a:b], sigma[a:b], cond=_make_cond(cond, image_cond[a:b]))

        if _length(tensor) == _length(uncond) or skip_uncond:
            cond_in = tensor if skip_uncond else catenate_conds([tensor, uncond])
            if opts.batch_cond_uncond:
                # The whole image_cond goes in even when uncond is skipped and it is longer than x.
                return self.inner_model(x, sigma, cond=_make_cond(cond_in, image_cond))
            parts = range(0, x.shape[0], batch_size)
            return torch.cat([call(a, a + batch_size, subscript_cond(cond_in, a, a + batch_size)) for a in parts])
        out = torch.zeros_like(x)
        size = batch_size * 2 if opts.batch_cond_uncond else batch_size
        count = _rows(tensor)
        for a in range(0, count, size):
            b = min(a + size, count)
            out[a:b] = call(a, b, subscript_cond(tensor, a, b))
        out[-_rows(uncond):] = call(-_rows(uncond), None, uncond)
        return out

    def forward(self, x: torch.Tensor, sigma: torch.Tensor, uncond: Any, cond: Any, cond_scale: float,
                s_min_uncond: float, image_cond: torch.Tensor) -> torch.Tensor:
        if state.interrupted or state.skipped:
            raise sd_samplers_common.InterruptedException
        if sd_samplers_common.apply_refiner(self, sigma):
            cond = self.sampler.sampler_extra_args["cond"]
            uncond = self.sampler.sampler_extra_args["uncond"]
        conds_list, tensor = prompt_parser.reconstruct_multicond_batch(cond, self.step)
        uncond = prompt_parser.reconstruct_cond_batch(uncond, self.step)
        if self.mask_before_denoising and self.mask is not None:
            x = self.blend(x, sigma)

        # A row for every part of every prompt, then one for every negative prompt.
        batch_size = len(conds_list)
        repeats = torch.tensor([len(parts) for parts in conds_list], device=x.device)
        parts = (x, sigma, image_cond)
        x_in, sigma_in, image_cond_in = (torch.cat([v.repeat_interleave(repeats, 0), v]) for v in parts)
        params = CFGDenoiserParams(x_in, image_cond_in, sigma_in, state.sampling_step, state.sampling_steps, tensor,
                                   uncond, self)
        cfg_denoiser_callback(params)
        x_in, image_cond_in, sigma_in = params.x, params.image_cond, params.sigma
        tensor, uncond = params.text_cond, params.text_uncond

        skip_uncond = self.skips_uncond(sigma, s_min_uncond)
        if skip_uncond:
            x_in, sigma_in = x_in[:-batch_size], sigma_in[:-batch_size]
        self.padded_cond_uncond = False
        if _length(tensor) != _length(uncond) and opts.pad_cond_uncond:
            tensor, uncond = self.pad_cond_uncond(tensor, uncond)
        x_out = self._denoise(x_in, sigma_in, tensor, uncond, image_cond_in, batch_size, skip_uncond)

        first = [parts[0][0] for parts in conds_list]
        if skip_uncond:
            # The missing half is filled with the conditional one, so that the guidance cancels out.
            x_out = torch.cat([x_out, x_out[first]])
        cfg_denoised_callback(CFGDenoisedParams(x_out, state.sampling_step, state.sampling_steps, self.inner_model))
        scale = 1.0 if skip_uncond else cond_scale
        denoised = self.combine_denoised(x_out, conds_list, uncond, scale)
        if not self.mask_before_denoising and self.mask is not None:
            denoised = self.blend(denoised, sigma)

        self.sampler.last_latent = self.get_pred_x0(x_in[first], x_out[first], sigma)
        sd_samplers_common.store_latent(self.sampler.last_latent)
        after = AfterCFGCallbackParams(denoised, state.sampling_step, state.sampling_steps)
        cfg_after_cfg_callback(after)
        self.step += 1
        return after.x


class _TimestepsDenoiser(torch.nn.Module):
    """For timestep samplers: eps as it comes, or made from v."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.inner_model = model

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        out = self.inner_model.apply_model(x, timesteps, **kwargs)
        if self.inner_model.parameterization != "v":
            return out
        alpha = self.inner_model.alphas_cumprod[timesteps.long()][:, None, None, None]
        return alpha.sqrt() * out + (1 - alpha).sqrt() * x


class CFGDenoiserTimesteps(CFGDenoiser):
    def __init__(self, sampler: Any) -> None:
        super().__init__(sampler)
        self.alphas = shared.sd_model.alphas_cumprod
        self.mask_before_denoising = True

    def get_pred_x0(self, x_in: torch.Tensor, x_out: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        alpha = self.alphas[sigma.long()][:, None, None, None]
        return (x_in - (1 - alpha).sqrt() * x_out) / alpha.sqrt()

    @property
    def inner_model(self) -> Any:
        if self.model_wrap is None:
            self.model_wrap = _TimestepsDenoiser(shared.sd_model)
        return self.model_wrap
