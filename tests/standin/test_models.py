"""Checkpoints, refiners, LoRA: which objects and weights change, and who hears of it."""

from __future__ import annotations

from typing import Any

import inside
import pytest
from inside import draw, draw_with, hooks, is_forge, layer

A, B, WIDE, XL = "tiny-sd15-a", "tiny-sd15-b", "tiny-sd15-wide", "tiny-sdxl-a"


def objects_around_a_switch(host: Any, refiner: str, limit: int = 1) -> dict[str, Any]:
    """Which models were live at each call of a run with a refiner, and how often a load was announced."""
    host.post("options", {"sd_model_checkpoint": A, "sd_checkpoints_limit": limit})
    draw(host)
    if limit > 1:
        draw(host, refiner_checkpoint=refiner, refiner_switch_at=0.5)
        draw(host)
    models, weights = [], []

    def look(params: Any, rest: Any) -> None:
        models.append(id(host.shared.sd_model))
        weights.append(round(float(layer(host).weight.abs().sum()), 4))

    fields = {"steps": 4, "refiner_checkpoint": refiner, "refiner_switch_at": 0.5, "scheduler": "Uniform"}
    seen = draw_with(host, {"cfg_denoiser": look}, **fields)
    from modules import sd_models

    after = sd_models.model_data.get_sd_model().sd_checkpoint_info.name_for_extra
    back = draw(host)
    host.post("options", {"sd_checkpoints_limit": 1})
    return {"objects": len(set(models)), "weights": weights, "loads": hooks(seen["events"]).count("model_loaded"),
            "after": after, "back": hooks(back["events"]).count("model_loaded"), "info": seen["infotexts"][0]}


def test_refiner_of_the_same_layout_is_written_into_the_same_objects(a1111: Any) -> None:
    seen = a1111.run(objects_around_a_switch, B)
    assert seen["objects"] == 1
    assert len(set(seen["weights"])) == 2
    assert (seen["loads"], seen["after"], seen["back"]) == (1, B, 1)
    assert "Refiner switch at: 0.5" in seen["info"]


def test_refiner_of_another_layout_is_a_new_object(a1111: Any) -> None:
    seen = a1111.run(objects_around_a_switch, WIDE)
    assert seen["objects"] == 2
    assert (seen["loads"], seen["back"]) == (1, 1)


def test_refiner_that_is_kept_loaded_is_switched_to_silently(a1111: Any) -> None:
    seen = a1111.run(objects_around_a_switch, B, limit=2)
    assert seen["objects"] == 2
    assert (seen["loads"], seen["back"]) == (0, 0)


def forge_refiner(host: Any) -> dict[str, Any]:
    host.post("options", {"sd_model_checkpoint": A})
    draw(host)
    engines, wrapped = [], []

    def wrap(p: Any, given: Any) -> None:
        unet = p.sd_model.forge_objects.unet.clone()
        unet.set_model_unet_function_wrapper(
            lambda apply, args: (wrapped.append(1), apply(args["input"], args["timestep"], **args["c"]))[1])
        p.sd_model.forge_objects.unet = unet

    def look(params: Any, rest: Any) -> None:
        engines.append(id(host.shared.sd_model))

    fields = {"steps": 4, "refiner_checkpoint": B, "refiner_switch_at": 0.5}
    seen = draw_with(host, {"process_before_every_sampling": wrap, "cfg_denoiser": look}, **fields)
    return {"engines": len(set(engines)), "wrapped": len(wrapped), "loads": hooks(seen["events"]).count("model_loaded")}


def test_forge_builds_a_new_engine_and_loses_what_was_put_on_the_old_one(forge: Any) -> None:
    assert forge.run(forge_refiner) == {"engines": 2, "wrapped": 2, "loads": 1}


def test_hires_checkpoint(either: Any) -> None:
    hires = inside.FORGE_HIRES if either.flavour == "forge" else inside.HIRES
    plain = either.run(draw, **hires)
    other = either.run(draw, hr_checkpoint_name=XL, **hires)
    assert plain["digests"] != other["digests"]
    assert hooks(other["events"]).count("model_loaded") >= 1
    assert f"Hires checkpoint: {XL}" in other["infotexts"][0]
    assert either.run(draw, **hires)["digests"] == plain["digests"]


def test_forge_has_no_model_before_its_first_job(forge: Any) -> None:
    assert forge.at_start["model"] == "FakeInitialModel"


def test_a1111_loads_its_model_while_it_starts(a1111: Any) -> None:
    assert a1111.at_start["model"] == "LatentDiffusion"


def changed_override(host: Any) -> list[Any]:
    host.shared.opts.data.pop("batch_cond_uncond", None)
    draw(host, override_settings={"batch_cond_uncond": False})
    unset = host.shared.opts.batch_cond_uncond
    host.shared.opts.batch_cond_uncond = True
    draw(host, override_settings={"batch_cond_uncond": False})
    return [unset, host.shared.opts.batch_cond_uncond]


def test_an_override_of_a_setting_that_was_never_set_stays(either: Any) -> None:
    assert either.run(changed_override) == [False, True]


def lora_weights(host: Any, functional: bool = False) -> dict[str, Any]:
    """One layer's weight at four moments: before, when LoRA was chosen, after a job with it, after one without."""
    host.post("options", {"sd_model_checkpoint": A})
    draw(host, prompt="x")
    if not is_forge(host):
        host.post("options", {"lora_functional": functional})
    original = layer(host).weight.clone()
    moments: dict[str, Any] = {"parameter": id(layer(host).weight)}

    def compare() -> bool:
        return bool((layer(host).weight == original).all())

    def announced(p: Any, given: Any) -> None:
        moments["announced"] = compare()

    with_lora = draw_with(host, {"process_before_every_sampling": announced}, prompt="x <lora:tiny-lora-a:1>")
    moments["after"] = compare()
    moments["same parameter"] = id(layer(host).weight) == moments.pop("parameter")
    without = draw(host, prompt="x")
    moments["restored"] = compare()
    moments["differs"] = with_lora["digests"] != without["digests"]
    if not is_forge(host):
        host.post("options", {"lora_functional": False})
    return moments


def test_lora_is_lazy_and_comes_off_again(a1111: Any) -> None:
    seen = a1111.run(lora_weights)
    assert seen == {"announced": True, "after": False, "same parameter": True, "restored": True, "differs": True}


def test_functional_lora_leaves_the_weights(a1111: Any) -> None:
    seen = a1111.run(lora_weights, functional=True)
    assert seen == {"announced": True, "after": True, "same parameter": True, "restored": True, "differs": True}


def test_forge_merges_lora_into_new_parameters(forge: Any) -> None:
    seen = forge.run(lora_weights)
    assert seen == {"announced": True, "after": False, "same parameter": False, "restored": True, "differs": True}


def naive_pruning(host: Any) -> list[bool]:
    """A weight zeroed for a job and put back after it, while LoRA takes its backup: the backup is the zeroed one."""
    import torch

    host.post("options", {"sd_model_checkpoint": B})
    draw(host, prompt="y")
    weight = layer(host).weight
    kept = weight.clone()
    with torch.no_grad():
        weight.zero_()
        draw(host, prompt="y <lora:tiny-lora-a:1>")
        weight.copy_(kept)
    # The next job restores what LoRA took for the original.
    draw(host, prompt="y")
    spoilt = bool((weight == 0).all())
    host.post("options", {"sd_model_checkpoint": A})
    host.post("options", {"sd_model_checkpoint": B})
    return [spoilt, bool((layer(host).weight == kept).all())]


def test_weights_changed_in_place_are_taken_for_the_original(a1111: Any) -> None:
    assert a1111.run(naive_pruning) == [True, True]


def forge_lora_hash(host: Any) -> list[str]:
    seen: list[str] = []

    def note(*_: Any) -> None:
        seen.append(host.shared.sd_model.forge_objects.unet.model.lora_loader.loaded_hash)

    draw(host, prompt="z")
    draw_with(host, {"process_before_every_sampling": note, "cfg_denoiser": note}, steps=1,
              prompt="z <lora:tiny-lora-b:0.5>")
    return seen


def test_forge_merges_between_the_hook_and_the_first_call(forge: Any) -> None:
    before, first = forge.run(forge_lora_hash)
    assert before == "[]"
    assert "tiny-lora-b" in first and "0.5" in first


def forge_online_lora(host: Any) -> dict[str, Any]:
    host.post("options", {"forge_unet_storage_dtype": "float8-e4m3fn (fp16 LoRA)"})
    plain = draw(host, prompt="z")
    with_lora = draw(host, prompt="z <lora:tiny-lora-a:1>")
    found = {"dtype": str(layer(host).weight.dtype), "online": hasattr(layer(host), "forge_online_loras"),
             "differs": plain["digests"] != with_lora["digests"], "info": plain["infotexts"][0]}
    draw(host, prompt="z")
    found["gone"] = not hasattr(layer(host), "forge_online_loras")
    host.post("options", {"forge_unet_storage_dtype": "Automatic"})
    return found


def test_forge_applies_lora_on_the_fly_to_float8(forge: Any) -> None:
    seen = forge.run(forge_online_lora)
    assert seen["dtype"] == "torch.float8_e4m3fn"
    assert seen["online"] and seen["differs"] and seen["gone"]
    assert "Diffusion in Low Bits: float8-e4m3fn (fp16 LoRA)" in seen["info"]


def float8(host: Any) -> dict[str, Any]:
    from modules import devices

    host.post("options", {"sd_model_checkpoint": A})
    plain = draw(host)["digests"]
    original = layer(host).weight.clone()
    host.post("options", {"fp8_storage": "Enable"})
    found = {"dtype": str(layer(host).weight.dtype), "flag": devices.fp8, "differs": draw(host)["digests"] != plain}
    host.post("options", {"fp8_storage": "Disable"})
    after = layer(host).weight
    found["after"] = str(after.dtype)
    found["rounded"] = bool((after == original.half().float()).all())
    host.post("options", {"sd_model_checkpoint": B})
    host.post("options", {"sd_model_checkpoint": A})
    return {**found, "back": draw(host)["digests"] == plain}


def test_float8_storage(a1111: Any) -> None:
    """Switching it off loads the weights through float16, which leaves its mark until the next checkpoint."""
    assert a1111.run(float8) == {"dtype": "torch.float8_e4m3fn", "flag": True, "differs": True, "rounded": True,
                                 "after": "torch.float32", "back": True}


def merged_blocks(host: Any) -> list[Any]:
    names = []

    def look(params: Any, rest: Any) -> None:
        names.append(type(inside.unet(host).middle_block[1].transformer_blocks[0]).__name__)

    plain = draw(host)["digests"]
    merged = draw_with(host, {"cfg_denoiser": look}, steps=4, override_settings={"token_merging_ratio": 0.5})
    block = type(inside.unet(host).middle_block[1].transformer_blocks[0]).__name__
    return [set(names), merged["digests"] != plain, block]


def test_token_merging_swaps_the_class_of_blocks(a1111: Any) -> None:
    assert a1111.run(merged_blocks) == [{"ToMeBlock"}, True, "BasicTransformerBlock"]


def out_of_reach(host: Any) -> dict[str, Any]:
    """Uses a layer's weight between two jobs, then the layer itself in the middle of its block's forward."""
    import torch

    draw(host)
    block = unet_block(host)
    linear = block[1].transformer_blocks[0].attn1.to_q
    x = torch.zeros(1, linear.weight.shape[1])
    found: dict[str, Any] = {"readable": float(linear.weight.abs().max()) > 0}
    try:
        torch.nn.functional.linear(x, linear.weight)
        found["usable"] = True
    except RuntimeError as e:
        found["usable"] = "same device" not in str(e)
    found["moved"] = torch.nn.functional.linear(x, linear.weight.to(x.device)).shape == (1, linear.weight.shape[0])
    inner: list[bool] = []
    handle = linear.register_forward_pre_hook(lambda m, args: inner.append(
        torch.nn.functional.linear(args[0], m.weight).shape == args[0].shape))
    found["digests"] = draw(host)["digests"]
    handle.remove()
    return {**found, "inside": bool(inner) and all(inner)}


def unet_block(host: Any) -> Any:
    return inside.unet(host).input_blocks[1]


@pytest.mark.parametrize("mode", ["lowvram", "medvram"])
def test_offloaded_weights_can_be_read_and_moved_but_not_used(host_process: Any, mode: str) -> None:
    seen = host_process("a1111", **{mode: True}).run(out_of_reach)
    assert seen["readable"] and seen["moved"] and seen["inside"]
    assert seen["usable"] is False
    assert seen["digests"] == host_process("a1111", port=7861).run(draw)["digests"]
