"""What a user asks for: prompts, batches, guidance, img2img and inpainting."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hostkit.client import Payload, encode
from hostkit.full import full
from hostkit.studio import RATIOS, Studio

LONG = "a photo of a cat, " + "fluffy, " * 60
EDITED = "a photo of a [cat:dog:0.5] on a [red|blue] mat"


def picture() -> str:
    """Something to draw on."""
    side = np.linspace(0, 255, 64, dtype=np.uint8)
    red, green = np.meshgrid(side, side)
    return encode(np.stack([red, green, 255 - red], axis=-1))


def mask() -> str:
    """The middle of the picture."""
    area = np.zeros((64, 64), dtype=np.uint8)
    area[16:48, 20:44] = 255
    return encode(area)


REQUESTS: dict[str, Payload] = {
    "batch size 2": {"batch_size": 2},
    "batch count 2": {"n_iter": 2},
    "cfg 1": {"cfg_scale": 1},
    "AND": {"prompt": "a cat AND a dog :1.2 AND a house"},
    "AND, batch size 2": {"prompt": "a cat AND a dog", "batch_size": 2},
    "long prompt": {"prompt": LONG},
    "long negative prompt": {"negative_prompt": LONG},
    "prompt editing": {"prompt": EDITED, "steps": 4},
    "oblong": {"width": 96, "height": 64},
}

IMG2IMG: dict[str, Payload] = {
    "img2img": {},
    "img2img, two batches of two": {"batch_size": 2, "n_iter": 2},
    "inpaint": {"mask": mask(), "inpainting_fill": 1},
    "inpaint, latent noise": {"mask": mask(), "inpainting_fill": 2, "mask_blur": 0},
    "inpaint only masked": {"mask": mask(), "inpaint_full_res": True, "inpaint_full_res_padding": 8},
}


IN_OTHERS = ("batch count 2", "AND, batch size 2", "long negative prompt", "img2img", "inpaint")
"""What other cases ask for as well, each together with something else."""


def case(name: str, payload: Payload) -> Any:
    return (full if name in IN_OTHERS else pytest.param)(payload, id=name)


def drawn_on(payload: Payload) -> Payload:
    return {"init_images": [picture()], "denoising_strength": 0.7, "steps": 5, **payload}


@pytest.mark.parametrize("payload", [case(name, payload) for name, payload in REQUESTS.items()])
def test_txt2img(studio: Studio, payload: Payload) -> None:
    studio.check(**payload)


@pytest.mark.parametrize("payload", [case(name, payload) for name, payload in IMG2IMG.items()])
def test_img2img(studio: Studio, payload: Payload) -> None:
    studio.check(**drawn_on(payload))


@pytest.mark.parametrize(
    "name", ["inpaint, latent noise", *(full(name) for name in IMG2IMG if name != "inpaint, latent noise")]
)
def test_inpainting_checkpoint(studio: Studio, name: str) -> None:
    with studio.on(studio.checkpoint(layout="sd15", inpainting=True)):
        studio.check(**drawn_on(IMG2IMG[name]))


def test_txt2img_with_an_inpainting_checkpoint(studio: Studio) -> None:
    with studio.on(studio.checkpoint(layout="sd15", inpainting=True)):
        studio.check()


@pytest.mark.parametrize("payload", [full({}), {"prompt": LONG}, {"prompt": "a cat AND a dog", "batch_size": 2}])
def test_conditions_one_after_the_other(studio: Studio, payload: Payload) -> None:
    studio.need("batch_cond_uncond" in studio.client.options(), "setting batch_cond_uncond")
    with studio.client.option("batch_cond_uncond", False):
        studio.check(**payload)


@pytest.mark.parametrize("options", [{"s_min_uncond": 50.0}, {"pad_cond_uncond": True, "prompt": LONG}])
def test_conditioning_options(studio: Studio, options: dict[str, Any]) -> None:
    (name, value), *payload = options.items()
    studio.need(name in studio.client.options(), f"setting {name}")
    with studio.client.option(name, value):
        studio.check(**dict(payload))


def test_pictures_of_a_batch_are_those_of_single_requests(studio: Studio) -> None:
    settings = {**RATIOS, "k": 1.5}
    both = studio.crdiff(settings, n_iter=2)
    for number, picture in enumerate(both.pictures):
        alone = studio.crdiff(settings, seed=1 + number)
        assert (picture == alone.pictures[0]).all()
