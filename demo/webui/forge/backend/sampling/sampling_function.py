"""Guidance: what runs in one batch, what extensions may change about it, and how the results are combined."""

from __future__ import annotations

import math
from collections import namedtuple
from typing import Any

import torch

from backend import memory_management
from backend.sampling.condition import Condition, compile_conditions, compile_weighted_conditions

COND, UNCOND = 0, 1
CondObject = namedtuple("CondObject", ["input_x", "mult", "conditioning", "area", "patches"])


def get_area_and_mult(conds: dict, x_in: torch.Tensor, timestep_in: torch.Tensor) -> CondObject:
    """Conditionings here always hold for the whole image and the whole run."""
    area = (x_in.shape[2], x_in.shape[3], 0, 0)
    mult = torch.ones_like(x_in) * conds.get("strength", 1.0)
    conditioning = {k: c.process_cond(batch_size=x_in.shape[0], device=x_in.device, area=area)
                    for k, c in conds["model_conds"].items()}
    return CondObject(x_in, mult, conditioning, area, None)


def can_concat_cond(c1: CondObject, c2: CondObject) -> bool:
    if c1.input_x.shape != c2.input_x.shape:
        return False
    a, b = c1.conditioning, c2.conditioning
    return a.keys() == b.keys() and all(a[k].can_concat(b[k]) for k in a)


def compute_cond_mark(cond_or_uncond: list[int], sigmas: torch.Tensor) -> torch.Tensor:
    return torch.tensor(cond_or_uncond, dtype=sigmas.dtype, device=sigmas.device).repeat_interleave(sigmas.shape[0])


def compute_cond_indices(cond_or_uncond: list[int], sigmas: torch.Tensor) -> tuple[list[int], list[int]]:
    rows = sigmas.shape[0]
    indices: tuple[list[int], list[int]] = ([], [])
    for i, kind in enumerate(cond_or_uncond):
        indices[kind].extend(range(i * rows, (i + 1) * rows))
    return indices


def _take_batch(to_run: list) -> list:
    """The first one and everything that fits with it, last ones first; there is memory for all."""
    first = to_run[0][0]
    fitting = [i for i, (entry, _) in enumerate(to_run) if can_concat_cond(entry, first)][::-1]
    return [to_run.pop(i) for i in fitting]


def calc_cond_uncond_batch(model: Any, cond: list, uncond: list | None, x_in: torch.Tensor, timestep: torch.Tensor,
                           model_options: dict) -> tuple[torch.Tensor, torch.Tensor]:
    sums = [torch.zeros_like(x_in), torch.zeros_like(x_in)]
    counts = [torch.full_like(x_in, 1e-37), torch.full_like(x_in, 1e-37)]
    to_run = [(get_area_and_mult(x, x_in, timestep), COND) for x in cond]
    to_run += [(get_area_and_mult(x, x_in, timestep), UNCOND) for x in uncond or []]

    while to_run:
        batch = _take_batch(to_run)
        kinds = [kind for _, kind in batch]
        entries = [entry for entry, _ in batch]
        input_x = torch.cat([x.input_x for x in entries])
        names = entries[0].conditioning
        c: dict[str, Any] = {k: names[k].concat([x.conditioning[k] for x in entries[1:]]) for k in names}
        rows = torch.cat([timestep] * len(entries))

        options = dict(model_options.get("transformer_options", {}))
        options["cond_or_uncond"] = kinds[:]
        options["sigmas"] = timestep
        options["cond_mark"] = compute_cond_mark(kinds, timestep)
        options["cond_indices"], options["uncond_indices"] = compute_cond_indices(kinds, timestep)
        c["transformer_options"] = options
        if "model_function_wrapper" in model_options:
            given = {"input": input_x, "timestep": rows, "c": c, "cond_or_uncond": kinds}
            output = model_options["model_function_wrapper"](model.apply_model, given)
        else:
            output = model.apply_model(input_x, rows, **c)
        for entry, kind, part in zip(entries, kinds, output.chunk(len(entries))):
            sums[kind] += part * entry.mult
            counts[kind] += entry.mult
    return sums[COND] / counts[COND], sums[UNCOND] / counts[UNCOND]


def sampling_function_inner(model: Any, x: torch.Tensor, timestep: torch.Tensor, uncond: Any, cond: list,
                            cond_scale: float, model_options: dict) -> torch.Tensor:
    strength = sum(item.get("strength", 1) for item in cond)
    skip = math.isclose(cond_scale, 1.0) and not model_options.get("disable_cfg1_optimization", False)
    uncond_used = None if skip else uncond
    cond_pred, uncond_pred = calc_cond_uncond_batch(model, cond, uncond_used, x, timestep, model_options)

    scale = cond_scale if math.isclose(strength, 1.0) else cond_scale * strength
    return uncond_pred + (cond_pred - uncond_pred) * scale


def sampling_function(self: Any, denoiser_params: Any, cond_scale: float, cond_composition: list) -> torch.Tensor:
    """Reads the UNet's patcher at this moment, so that what extensions set a moment ago counts."""
    patcher = self.inner_model.inner_model.forge_objects.unet
    model, model_options = patcher.model, patcher.model_options
    x, timestep = denoiser_params.x, denoiser_params.sigma
    uncond = compile_conditions(denoiser_params.text_uncond)
    cond = compile_weighted_conditions(denoiser_params.text_cond, cond_composition)
    image_cond = denoiser_params.image_cond
    fits = isinstance(image_cond, torch.Tensor) and image_cond.shape[0] == x.shape[0] and (
        image_cond.shape[2:] == x.shape[2:])
    for entry in [*cond, *(uncond or [])]:
        if fits:
            entry["model_conds"]["c_concat"] = Condition(image_cond)
    return sampling_function_inner(model, x, timestep, uncond, cond, cond_scale, model_options)


def sampling_prepare(unet: Any) -> None:
    memory_management.load_model_gpu(unet)
