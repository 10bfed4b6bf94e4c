"""The samplers by name."""

from __future__ import annotations

import logging
from typing import Any

from modules import sd_samplers_common, sd_samplers_kdiffusion, sd_samplers_timesteps, sd_schedulers, shared

samples_to_image_grid = sd_samplers_common.samples_to_image_grid
sample_to_image = sd_samplers_common.sample_to_image
all_samplers = [
    *sd_samplers_kdiffusion.samplers_data_k_diffusion,
    *sd_samplers_timesteps.samplers_data_timesteps,
]
all_samplers_map = {x.name: x for x in all_samplers}
samplers: list[sd_samplers_common.SamplerData] = []
samplers_map: dict[str, str] = {}
samplers_hidden: set[str] = set()


def find_sampler_config(name: str | None) -> sd_samplers_common.SamplerData | None:
    return all_samplers[0] if name is None else all_samplers_map.get(name)


def create_sampler(name: str | None, model: Any) -> sd_samplers_common.Sampler:
    config = find_sampler_config(name)
    assert config is not None, f"bad sampler name: {name}"
    sampler = config.constructor(model)
    sampler.config = config
    return sampler


def set_samplers() -> None:
    global samplers, samplers_hidden
    samplers_hidden = set(shared.opts.hide_samplers)
    samplers = all_samplers
    samplers_map.clear()
    for sampler in all_samplers:
        samplers_map.update({name.lower(): sampler.name for name in (sampler.name, *sampler.aliases)})


def visible_samplers() -> list[sd_samplers_common.SamplerData]:
    return [x for x in samplers if x.name not in samplers_hidden]


def visible_sampler_names() -> list[str]:
    return [x.name for x in visible_samplers()]


def get_sampler_and_scheduler(sampler_name: str | None, scheduler_name: str | None, *,
                              convert_automatic: bool = True) -> tuple[str, str]:
    """Also understands old names that end in the schedule, as in "DPM++ 2M Karras"."""
    automatic = sd_schedulers.schedulers[0]
    scheduler = sd_schedulers.schedulers_map.get(scheduler_name, automatic)
    name = sampler_name or all_samplers[0].name
    for candidate in sd_schedulers.schedulers:
        for label in (candidate.label, candidate.name, *(candidate.aliases or [])):
            if name.endswith(f" {label}"):
                scheduler, name = candidate, name[: -len(label) - 1]
                break
    sampler = all_samplers_map.get(name, all_samplers[0])
    if convert_automatic and sampler.options.get("scheduler") == scheduler.name:
        scheduler = automatic
    return sampler.name, scheduler.label


def get_sampler_from_infotext(d: dict) -> str:
    return get_sampler_and_scheduler(d.get("Sampler"), d.get("Schedule type"))[0]


def get_scheduler_from_infotext(d: dict) -> str:
    return get_sampler_and_scheduler(d.get("Sampler"), d.get("Schedule type"))[1]


def fix_p_invalid_sampler_and_scheduler(p: Any) -> None:
    before = (p.sampler_name, p.scheduler)
    p.sampler_name, p.scheduler = get_sampler_and_scheduler(*before, convert_automatic=False)
    if p.sampler_name != before[0] or p.scheduler != before[1]:
        logging.warning("Sampler Scheduler autocorrection: %s -> %s", before, (p.sampler_name, p.scheduler))


set_samplers()
