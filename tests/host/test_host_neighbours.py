"""Other extensions at the same UNet, the WebUI's own among them."""

from __future__ import annotations

from typing import Any

import pytest
from hostkit.client import Payload, difference
from hostkit.full import full
from hostkit.infotext import parse
from hostkit.studio import RATIOS, Studio
from test_host_hires import HIRES
from test_host_method import STRONG
from test_host_requests import picture

SETTINGS = {**RATIOS, "k": 1.5}
SCALE = 2
"""No sign change: two in a row can cancel out, for a denoised latent is nearly odd in the noise."""


@pytest.mark.parametrize(
    ("kind", "counterpart", "when"),
    [
        ("unet", "module hook", "before"),
        ("layer", "layer hook", "after"),
        ("wrapper", "wrapper", "after"),
        ("function wrapper", "function wrapper", "before"),
        full("unet", "module hook", "after"),
        full("layer", "layer hook", "before"),
        full("wrapper", "wrapper", "before"),
        full("function wrapper", "function wrapper", "after"),
    ],
)
def test_two_extensions_hook_the_model(studio: Studio, kind: str, counterpart: str, when: str) -> None:
    if kind == "function wrapper" and not studio.target.forge:
        pytest.skip(f"{studio.target.name} has no function wrappers")
    hook = {"kind": kind, "when": when, "scale": SCALE}
    scripts = {"second hook": [hook]}
    plain, state = studio.draw(), studio.state()
    mine = studio.crdiff(STRONG, scripts=scripts)
    first_state = studio.state()
    again = studio.crdiff(STRONG, scripts=scripts)
    last_state = studio.state()
    studio.assert_same(again, mine)
    studio.assert_same(studio.draw(), plain)
    if when == "before":
        assert last_state == state
    # Where hooks cross (the first to come is the first to go) an idle one may stay. It must not add up, and the next
    # run by itself clears it away.
    assert last_state["crdiff_functions"] == first_state["crdiff_functions"]
    assert last_state["weights"] == state["weights"]
    studio.crdiff(STRONG)
    studio.assert_state(state)
    counterparts = {"second hook": [{**hook, "kind": counterpart}]}
    # The scale is applied to each pass or to their mix: the same product, rounded in another order.
    studio.assert_reference(mine, {**STRONG, "fresh": True}, scripts=counterparts, exact=False)
    studio.assert_changed(mine, studio.crdiff(STRONG))
    studio.assert_changed(mine, studio.draw(scripts=scripts))


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param({**HIRES, "n_iter": 2}, id="hires fix, two batches"),
        pytest.param({"init_images": [picture()], "n_iter": 2, "steps": 5}, id="img2img, two batches"),
        full({}, id="txt2img"),
        full(HIRES, id="hires fix"),
        full({"n_iter": 2}, id="two batches"),
    ],
)
def test_sampler_wrapped_by_another_extension(studio: Studio, payload: Payload) -> None:
    wrapped = studio.crdiff(SETTINGS, scripts={"second hook": [{"kind": "sampler"}]}, **payload)
    studio.assert_same(wrapped, studio.crdiff(SETTINGS, **payload))


@pytest.mark.usefixtures("untouched")
def test_layers_out_of_reach_are_drawn_dense_and_say_so(studio: Studio) -> None:
    hook = {"second hook": [{"kind": "opaque layer", "when": "before"}]}
    dense = studio.crdiff(SETTINGS, scripts=hook)
    studio.assert_same(dense, studio.draw(scripts=hook))
    note = parse(dense.infotext)["CR-Diff note"]
    assert note.startswith("CR-Diff ")
    assert "linear" in note


def test_auto_without_presets_for_the_family_is_drawn_dense_and_says_so(studio: Studio) -> None:
    with studio.on(studio.checkpoint(family=None, inpainting=False)):
        drawn = studio.crdiff({"preset": "auto"})
        studio.assert_same(drawn, studio.draw())
    assert "no presets for this model's family" in parse(drawn.infotext)["CR-Diff note"]


# Inner runs in ADetailer's manner


def test_inner_runs_are_left_alone(studio: Studio) -> None:
    outer = studio.crdiff(SETTINGS)
    expected = studio.draw(init_images=list(outer.encoded), denoising_strength=0.5)
    drawn = studio.crdiff(SETTINGS, scripts={"inner run": [True]})
    studio.assert_same(drawn, expected)


def test_inner_runs_with_the_setting_on(studio: Studio) -> None:
    outer = studio.crdiff(SETTINGS)
    again: Payload = {"init_images": list(outer.encoded), "denoising_strength": 0.5}
    expected = studio.crdiff(SETTINGS, **again)
    with studio.client.option("crdiff_in_adetailer", True, usual=False):
        drawn = studio.crdiff(SETTINGS, scripts={"inner run": [True]})
    studio.assert_same(drawn, expected)
    studio.assert_changed(drawn, studio.draw(**again))


# The WebUI's own extensions

BUILT_IN: dict[str, list[Any]] = {
    "freeu integrated": [True, 1.3, 1.4, 0.9, 0.2],
    "kohya hrfix integrated": [True, 3, 2.0, 0.0, 1.0],
    "perturbedattentionguidance integrated": [True, 3.0],
    "selfattentionguidance integrated": [True, 0.75, 2.0],
    "dynamicthresholding (cfg-fix) integrated": [True, 7.0, 0.95],
    "latentmodifier integrated": [True, 5.0],
    "multidiffusion integrated": [True, "MultiDiffusion", 64, 64, 32, 4],
}
SIZES: dict[str, Payload] = {
    "freeu integrated": {"width": 128, "height": 128},
    "selfattentionguidance integrated": {"width": 128, "height": 128},
    "multidiffusion integrated": {"width": 96},
}
"""FreeU and reForge's SAG cannot do with a feature map of one pixel; MultiDiffusion needs more than one tile."""


def test_built_in_extensions(studio: Studio, subtests: pytest.Subtests) -> None:
    titles = studio.target.scripts
    found = {title: args for name, args in BUILT_IN.items() for title in titles if title.startswith(name)}
    if not found:
        pytest.skip(f"{studio.target.name} has none of {', '.join(BUILT_IN)}")
    for title, args in found.items():
        with subtests.test(extension=title):
            scripts = {title: args}
            payload = next((size for name, size in SIZES.items() if title.startswith(name)), {})
            plain = studio.draw(scripts=scripts, **payload)
            if difference(plain.pictures[0], studio.plain(**payload).pictures[0]) == 0:
                pytest.skip(f"{title} does nothing to this checkpoint")
            studio.assert_same(studio.crdiff({**RATIOS, "k": 0}, scripts=scripts, **payload), plain)
            if title.startswith("selfattention"):
                # It keeps the attention of the UNet's last pass: the dense one here, the pruned one in the reference.
                studio.assert_changed(studio.crdiff(SETTINGS, scripts=scripts, **payload), plain)
            else:
                studio.check(scripts=scripts, **payload)


def test_both_passes_see_the_same_random_numbers(studio: Studio) -> None:
    """Hypertile draws its tiles at random in each UNet call; hardly pruned, the two passes must all but agree."""
    if "hypertile_enable_unet" not in studio.client.options():
        pytest.skip(f"{studio.target.name} has no Hypertile")
    payload: Payload = {"width": 256, "height": 256, "steps": 2}
    option = studio.client.option
    # Hypertile never quite lets go of a model, so it gets one that the next switch throws away.
    with studio.on(studio.other_modules()):
        untiled = studio.draw(**payload)
        with option("hypertile_enable_unet", True), option("hypertile_max_tile_unet", 64):
            tiled = studio.draw(**payload)
            hardly = studio.crdiff({"down": 0.0002, "mid": 0, "up": 0, "k": 2}, **payload)
    studio.assert_changed(tiled, untiled)
    studio.assert_same(hardly, tiled, tolerance=2)
