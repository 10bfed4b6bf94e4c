"""The order of hooks and callbacks in a job."""

from __future__ import annotations

from typing import Any

import inside
import pytest
from inside import FORGE_HIRES, HIRES, draw, hooks
from PIL import Image, ImageDraw

CALL = ["cfg_denoiser", "cfg_denoised", "cfg_after_cfg"]
FORGE_CALL = ["cfg_denoiser", "cfg_after_cfg"]
START = ["before_process_batch", "after_extra_networks_activate", "process_batch", "process_before_every_sampling"]
PICTURE = ["postprocess_image", "postprocess_maskoverlay", "postprocess_image_after_composite"]
FINISH = ["post_sample", "postprocess_batch", "postprocess_batch_list"]


def test_start(either: Any) -> None:
    seen = either.at_start
    assert seen["tabs"].count("txt2img") == seen["tabs"].count("img2img") == 3
    assert seen["tabs"][:2] == ["txt2img", "img2img"]
    names = seen["names"]
    assert names.index("script loaded") < names.index("before_ui") < names.index("ui_settings") < names.index("ui")
    assert names[-1] == "app_started"
    assert ("model_loaded" in names) == (either.flavour == "a1111")
    assert seen["components"] == ["txt2img_width"]


def test_txt2img(either: Any) -> None:
    call = CALL if either.flavour == "a1111" else FORGE_CALL
    either.run(draw)
    seen = either.run(draw, n_iter=2, batch_size=2, steps=2)
    batch = [*START, *call, *call, *FINISH, *PICTURE, *PICTURE]
    assert hooks(seen["events"]) == ["setup", "before_process", "process", *batch, *batch, "postprocess"]
    assert len(seen["digests"]) == 4
    assert len(set(seen["digests"])) == 4


def test_hires(a1111: Any) -> None:
    seen = hooks(a1111.run(draw, steps=2, **HIRES)["events"])
    second = ["after_extra_networks_activate", "before_hr", "process_before_every_sampling"]
    first = [*START, *CALL, *CALL]
    calls = [*CALL, *CALL]
    assert seen == ["setup", "before_process", "process", *first, *second, *calls, *FINISH, *PICTURE, "postprocess"]


def test_hires_on_forge_announces_the_second_pass_twice(forge: Any) -> None:
    forge.run(draw)
    seen = hooks(forge.run(draw, steps=2, **FORGE_HIRES)["events"])
    announced = ["before_hr", "process_before_every_sampling", "process_before_every_sampling", "cfg_denoiser"]
    assert seen[seen.index("before_hr"):][: len(announced)] == announced
    assert seen.count("process_before_every_sampling") == 3


def test_hires_on_forge_needs_its_modules_named(forge: Any) -> None:
    with pytest.raises(RuntimeError, match="500"):
        forge.run(draw, **HIRES)


def mask() -> Image.Image:
    image = Image.new("L", (64, 64))
    ImageDraw.Draw(image).rectangle((20, 20, 39, 39), fill=255)
    return image


def test_inpainting_blends_at_every_call_and_at_the_end(either: Any) -> None:
    picture = Image.radial_gradient("L").resize((64, 64)).convert("RGB")
    seen = either.run(draw, tab="img2img", init_images=[picture], mask=mask(), denoising_strength=0.8, steps=5,
                      mask_blur=0, inpaint_full_res=False)
    names = hooks(seen["events"])
    assert names.count("on_mask_blend") == names.count("cfg_denoiser") + 1
    assert ("before_process_init_images" in names) == (either.flavour == "forge")


def changed_outside(host: Any, picture: Image.Image, box: tuple[int, int, int, int], **fields: Any) -> list[int]:
    """Largest difference outside and inside a box."""
    import numpy as np

    result = host.img2img(init_images=[picture], **fields)
    difference = np.abs(np.asarray(result.images[0]).astype(int) - np.asarray(picture).astype(int)).max(-1)
    inner = np.zeros(difference.shape, bool)
    inner[box[1]:box[3], box[0]:box[2]] = True
    return [int(difference[~inner].max()), int(difference[inner].max())]


def test_only_masked_keeps_the_rest(either: Any) -> None:
    picture = Image.radial_gradient("L").resize((64, 64)).convert("RGB")
    outside, inner = either.run(changed_outside, picture, (20, 20, 40, 40), mask=mask(), denoising_strength=0.9,
                                mask_blur=0, inpaint_full_res=True, inpaint_full_res_padding=4)
    assert outside == 0
    assert inner > 20


@pytest.mark.parametrize(("sampler", "calls"), [("Euler", 4), ("Euler a", 4), ("Heun", 7), ("DPM2", 7), ("LMS", 4),
                                                ("DPM++ 2M", 4), ("DPM++ SDE", 7), ("DDIM", 3)])
def test_calls_of_the_samplers(either: Any, sampler: str, calls: int) -> None:
    assert hooks(either.run(draw, sampler_name=sampler, steps=4)["events"]).count("cfg_denoiser") == calls


def test_the_last_step_lags_in_the_parameters(either: Any) -> None:
    assert either.run(steps_seen) == {"sampling_step": [0, 0, 1], "step": [0, 1, 2]}


def steps_seen(host: Any) -> dict[str, list[int]]:
    seen: dict[str, list[int]] = {"sampling_step": [], "step": []}

    def look(params: Any, rest: Any) -> None:
        seen["sampling_step"].append(params.sampling_step)
        seen["step"].append(params.denoiser.step)

    inside.draw_with(host, {"cfg_denoiser": look}, steps=3)
    return seen
