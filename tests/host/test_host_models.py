"""Every model a run may meet, and every way it may be switched while the run goes on."""

from __future__ import annotations

from typing import Any

import pytest
from hostkit.client import Payload, difference
from hostkit.full import full
from hostkit.studio import RATIOS, Studio
from test_host_hires import HIRES
from test_host_method import STRONG


def test_sdxl(studio: Studio) -> None:
    with studio.on(studio.checkpoint(layout="sdxl")):
        studio.check()


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(HIRES, id="hires fix"),
        full({"prompt": "a cat AND a dog", "batch_size": 2}, id="AND"),
        full({"prompt": "cat, " * 90}, id="long prompt"),
    ],
)
def test_sdxl_requests(studio: Studio, payload: Payload) -> None:
    with studio.on(studio.checkpoint(layout="sdxl")):
        studio.check(**payload)


@pytest.mark.full
def test_every_checkpoint_in_turn(studio: Studio, subtests: pytest.Subtests) -> None:
    for checkpoint in studio.checkpoints(layout="sd15", inpainting=False)[1:]:
        with subtests.test(checkpoint=checkpoint.title), studio.on(checkpoint):
            studio.check()


def test_checkpoint_override_of_one_request(studio: Studio) -> None:
    other = studio.checkpoints(layout="sd15", inpainting=False)[1:]
    studio.need(other, "second SD1.5 checkpoint")
    payload: Payload = {"override_settings": {"sd_model_checkpoint": other[0].title}}
    mine = studio.check(**payload)
    studio.assert_changed(mine, studio.check())


@pytest.mark.parametrize("switch", [0.5, full(0.25), full(0.75)])
def test_refiner_that_shares_the_first_models_modules(studio: Studio, switch: float) -> None:
    """AUTOMATIC1111 copies the weights into the modules of a checkpoint of the same configuration."""
    first, second = first_and_next(studio, same_config=True)
    refined(studio, first, second, switch, steps=4)


@pytest.mark.parametrize("switch", [0.25, full(0.75)])
def test_refiner_with_modules_of_its_own(studio: Studio, switch: float) -> None:
    first, second = first_and_next(studio, same_config=False)
    refined(studio, first, second, switch, steps=4)


@pytest.mark.parametrize(
    ("same_config", "window"),
    [
        pytest.param(True, {"start": 0.5}, id="same modules, second half"),
        pytest.param(False, {"end": 0.5}, id="new modules, first half"),
        full(True, {"end": 0.5}, id="same modules, first half"),
        full(False, {"start": 0.5}, id="new modules, second half"),
    ],
)
def test_refiner_and_window(studio: Studio, same_config: bool, window: dict[str, float]) -> None:
    first, second = first_and_next(studio, same_config=same_config)
    payload: Payload = {"refiner_checkpoint": second, "refiner_switch_at": 0.5, "steps": 4}
    with studio.on_title(first):
        studio.draw(**payload)  # As in refined().
        studio.check({**STRONG, **window}, **payload)


def test_refiner_loaded_into_the_modules_under_the_name_of_the_checkpoint(studio: Studio) -> None:
    if "refiner_fast_sd" not in studio.client.options():
        pytest.skip(f"{studio.target.name} has no setting refiner_fast_sd")
    first, second = first_and_next(studio, same_config=True)
    payload: Payload = {"refiner_checkpoint": second, "refiner_switch_at": 0.5, "steps": 4}
    settings = {**RATIOS, "k": 1.5}
    with studio.client.option("refiner_fast_sd", True), studio.on_title(first):
        mine = studio.crdiff(settings, **payload)
        studio.assert_reference(mine, {**settings, "fresh": True}, **payload)
        studio.assert_changed(mine, studio.draw(**payload))
        # The reference that keeps the first checkpoint's thresholds shows what this would miss.
        studio.assert_changed(mine, studio.reference(settings, **payload))


def test_refiner_in_both_passes_of_hires_fix(studio: Studio) -> None:
    first, second = first_and_next(studio, same_config=True)
    refined(studio, first, second, 0.5, **{**HIRES, "steps": 4, "hr_second_pass_steps": 4})


@pytest.mark.parametrize("same_config", [pytest.param(False, id="new modules"), full(True, id="same modules")])
def test_hires_checkpoint(studio: Studio, same_config: bool) -> None:
    first, second = first_and_next(studio, same_config=same_config)
    with studio.on_title(first):
        mine = studio.check(**HIRES, hr_checkpoint_name=second)
        studio.assert_changed(mine, studio.crdiff({**RATIOS, "k": 1.5}, **HIRES))


def first_and_next(studio: Studio, *, same_config: bool) -> tuple[str, str]:
    """Titles of two checkpoints to switch between."""
    usable = studio.checkpoints(layout="sd15", inpainting=False)
    pairs = [(a.title, b.title) for a in usable for b in usable if a != b and (a.config == b.config) == same_config]
    if studio.target.forge and not same_config:
        # Every switch makes new modules there.
        pairs = [(a.title, b.title) for a in reversed(usable) for b in usable if a != b]
    studio.need(pairs, "two SD1.5 checkpoints of " + ("one configuration" if same_config else "two configurations"))
    return pairs[0]


def refined(studio: Studio, first: str, second: str, switch: float, **payload: Any) -> None:
    refiner = {"refiner_checkpoint": second, "refiner_switch_at": switch}
    with studio.on_title(first):
        alone = studio.draw(**payload)
        # What Neo draws by a refiner depends on whether the job before had one, so all that are compared follow one.
        host = studio.draw(**payload, **refiner)
        if "enable_hr" in payload:
            studio.need(difference(host.pictures[0], alone.pictures[0]), "refiner in hires fix")
        mine = studio.check(**payload, **refiner)
        studio.assert_changed(mine, studio.crdiff({**RATIOS, "k": 1.5}, **payload))
