"""LoRAs change the weights that get pruned, and must come and go as if CR-Diff were not there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hostkit.studio import RATIOS, Studio
from test_host_hires import HIRES

SETTINGS = {**RATIOS, "k": 1.5}


@pytest.fixture
def loras(studio: Studio) -> tuple[str, str]:
    """Prompts with one LoRA each."""
    names = studio.target.loras
    studio.need(len(names) >= 2, "two LoRAs for SD1.5")
    return f"a photo of a cat <lora:{names[0]}:0.8>", f"a photo of a cat <lora:{names[1]}:0.7>"


@pytest.fixture(params=["merged", "functional"])
def lora_mode(request: pytest.FixtureRequest, studio: Studio) -> Iterator[str]:
    """LoRAs merged into the weights, or added beside them, where the WebUI has that."""
    mode: str = request.param
    if mode == "merged":
        yield mode
        return
    if studio.target.forge:
        pytest.skip(f"{studio.target.name} merges LoRAs whatever lora_functional says")
    # What is merged stays merged until a functional LoRA comes along, so nothing must be when the option changes.
    studio.draw()
    with studio.client.option("lora_functional", True):
        yield mode


def test_lora(studio: Studio, loras: tuple[str, str]) -> None:
    mine = studio.check(prompt=loras[0])
    studio.assert_changed(mine, studio.crdiff(SETTINGS))


def test_two_loras_at_once(studio: Studio, loras: tuple[str, str]) -> None:
    both = loras[0] + loras[1].removeprefix("a photo of a cat")
    mine = studio.check(prompt=both)
    for one in loras:
        studio.assert_changed(mine, studio.crdiff(SETTINGS, prompt=one))


def test_functional_loras_prune_the_weights_they_would_be_merged_into(studio: Studio, loras: tuple[str, str]) -> None:
    if studio.target.forge:
        pytest.skip(f"{studio.target.name} merges LoRAs whatever lora_functional says")
    both = loras[0] + loras[1].removeprefix("a photo of a cat")
    for prompt in (loras[0], both):
        merged = studio.reference(SETTINGS, prompt=prompt)
        with studio.client.option("lora_functional", True):
            mine = studio.crdiff(SETTINGS, prompt=prompt)
            plain = studio.draw(prompt=prompt)
        # Beside the weights or in them: the same sum, rounded in another order, as in the host's own images.
        studio.assert_rounded(mine, merged, [(plain, studio.draw(prompt=prompt))])
        studio.assert_changed(mine, plain)
    scaled = {**SETTINGS, "attention_scale": 0.5}
    with studio.client.option("lora_functional", True):
        functional = studio.crdiff(scaled, prompt=both)
    studio.assert_rounded(functional, studio.crdiff(scaled, prompt=both), [(plain, studio.draw(prompt=both))])
    studio.assert_changed(functional, mine)


@pytest.mark.usefixtures("lora_mode")
def test_loras_that_come_and_go(studio: Studio, loras: tuple[str, str]) -> None:
    plain = studio.draw()
    without = studio.crdiff(SETTINGS)
    first = studio.crdiff(SETTINGS, prompt=loras[0])
    second = studio.crdiff(SETTINGS, prompt=loras[1])
    studio.assert_same(studio.crdiff(SETTINGS), without)
    studio.assert_same(studio.crdiff(SETTINGS, prompt=loras[0]), first)
    host_with_second = studio.draw(prompt=loras[1])
    studio.assert_same(studio.crdiff(SETTINGS, prompt=loras[1]), second)
    studio.assert_same(studio.draw(prompt=loras[1]), host_with_second)
    studio.assert_same(studio.draw(), plain)


def test_strength_is_part_of_the_weights(studio: Studio, loras: tuple[str, str]) -> None:
    weaker = loras[0].replace("0.8", "0.3")
    studio.assert_changed(studio.check(prompt=weaker), studio.check(prompt=loras[0]))


def test_another_lora_in_the_hires_pass(studio: Studio, loras: tuple[str, str]) -> None:
    studio.check(prompt=loras[0], hr_prompt=loras[1], **HIRES)


def test_lora_and_refiner(studio: Studio, loras: tuple[str, str]) -> None:
    others = studio.checkpoints(layout="sd15", inpainting=False)[1:]
    studio.need(others, "second SD1.5 checkpoint")
    for other in {others[0], studio.other_modules()} - set(studio.checkpoints(inpainting=True)):
        refiner = {"refiner_checkpoint": other.title, "refiner_switch_at": 0.5}
        studio.draw(prompt=loras[0], steps=4, **refiner)  # Neo's depends on whether the job before had a refiner.
        studio.check(prompt=loras[0], steps=4, **refiner)
