"""What the UNet and its wrappers are called with."""

from __future__ import annotations

from typing import Any

import inside
import pytest
from inside import draw, draw_with


def batches(host: Any, **fields: Any) -> list[tuple[int, int]]:
    """(rows, tokens) of each UNet call."""
    seen: list[tuple[int, int]] = []
    draw(host)
    handle = inside.unet(host).register_forward_pre_hook(
        lambda module, args, kwargs: seen.append((args[0].shape[0], kwargs["context"].shape[1])), with_kwargs=True)
    try:
        draw(host, steps=1, **fields)
    finally:
        handle.remove()
    return seen


LONG = "word " * 100


@pytest.mark.parametrize(("fields", "calls"), [
    ({}, [(2, 77)]),
    ({"batch_size": 3}, [(6, 77)]),
    ({"cfg_scale": 1}, [(2, 77)]),
    ({"prompt": "a AND b"}, [(3, 77)]),
    ({"prompt": "a AND b", "batch_size": 2}, [(6, 77)]),
    ({"prompt": LONG}, [(1, 154), (1, 77)]),
    ({"prompt": LONG, "negative_prompt": LONG}, [(2, 154)]),
    ({"override_settings": {"batch_cond_uncond": False}}, [(1, 77), (1, 77)]),
    ({"prompt": LONG, "override_settings": {"pad_cond_uncond": True}}, [(2, 154)]),
])
def test_batches(a1111: Any, fields: dict[str, Any], calls: list) -> None:
    settings = fields.get("override_settings", {})
    a1111.run(set_settings, dict.fromkeys(settings))
    assert a1111.run(batches, **fields) == calls


def set_settings(host: Any, names: dict[str, Any]) -> None:
    """Makes settings count as set, so that overriding them is undone."""
    for name in names:
        host.shared.opts.data[name] = host.shared.opts.data_labels[name].default


@pytest.mark.parametrize(("fields", "calls"), [
    ({}, [(2, 77)]),
    ({"cfg_scale": 1}, [(1, 77)]),
    ({"prompt": "a AND b"}, [(3, 77)]),
    ({"prompt": LONG}, [(2, 154)]),
])
def test_batches_on_forge(forge: Any, fields: dict[str, Any], calls: list) -> None:
    assert forge.run(batches, **fields) == calls


def wrapper_arguments(host: Any, checkpoint: str) -> list[Any]:
    """How the class between model and UNet is called."""
    host.post("options", {"sd_model_checkpoint": checkpoint})
    kind = type(host.shared.sd_model.model)
    original, seen = kind.forward, []

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append((len(args), sorted(kwargs), sorted(args[2]) if len(args) > 2 else None))
        return original(self, *args, **kwargs)

    kind.forward = forward
    try:
        draw(host, steps=1)
    finally:
        kind.forward = original
        host.post("options", {"sd_model_checkpoint": "tiny-sd15-a"})
    return [f"{kind.__module__}.{kind.__name__}", seen]


def test_the_wrapper_of_sd1(a1111: Any) -> None:
    name, seen = a1111.run(wrapper_arguments, "tiny-sd15-a")
    assert name == "ldm.models.diffusion.ddpm.DiffusionWrapper"
    assert seen == [(2, ["c_concat", "c_crossattn"], None)]


def test_the_wrapper_of_sdxl(a1111: Any) -> None:
    name, seen = a1111.run(wrapper_arguments, "tiny-sdxl-a")
    assert name == "sgm.modules.diffusionmodules.wrappers.OpenAIWrapper"
    assert seen == [(3, [], ["c_concat", "crossattn", "vector"])]


def patchers_in_hires(host: Any) -> list[bool]:
    """Whether the first pass's wrapper is still there at each announcement."""
    draw(host)
    seen: list[bool] = []

    def look(p: Any, given: Any) -> None:
        unet = p.sd_model.forge_objects.unet
        seen.append("model_function_wrapper" in unet.model_options)
        unet = unet.clone()
        unet.set_model_unet_function_wrapper(lambda apply, args: apply(args["input"], args["timestep"], **args["c"]))
        p.sd_model.forge_objects.unet = unet

    draw_with(host, {"process_before_every_sampling": look}, **inside.FORGE_HIRES)
    draw_with(host, {"process_before_every_sampling": look})
    return seen


def test_patches_are_thrown_away_before_every_pass(forge: Any) -> None:
    assert forge.run(patchers_in_hires) == [False, True, False, False]


def inference_mode(host: Any) -> list[Any]:
    import torch

    seen = []
    draw_with(host, {"cfg_denoiser": lambda params, rest: seen.append(
        (torch.is_inference_mode_enabled(), torch.is_grad_enabled()))}, steps=1)
    return seen


def test_gradients_are_off(either: Any) -> None:
    assert either.run(inference_mode) == [(is_forge_process(either), False)]


def is_forge_process(process: Any) -> bool:
    return process.flavour == "forge"


def same_picture(host: Any, **fields: Any) -> bool:
    return draw(host, **fields)["digests"] == draw(host, **fields)["digests"]


@pytest.mark.parametrize("sampler", ["Euler a", "DPM++ SDE", "DPM2 a", "DPM++ 2M SDE", "DPM adaptive"])
def test_noise_is_repeatable(either: Any, sampler: str) -> None:
    assert either.run(same_picture, sampler_name=sampler)


def test_a_batch_is_the_pictures_one_by_one(either: Any) -> None:
    batch = either.run(draw, batch_size=2, seed=5, sampler_name="Euler a")["infotexts"]
    assert ["Seed: 5" in batch[0], "Seed: 6" in batch[1]] == [True, True]


