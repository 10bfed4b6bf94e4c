"""Ways to keep and run the weights that save memory or time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hostkit.studio import RATIOS, Studio
from hostkit.targets import can_restart, running

FP8 = {
    False: ("fp8_storage", "Enable"),
    True: ("forge_unet_storage_dtype", "float8-e4m3fn"),
}
FP8_WITH_LORAS_ON_EACH_USE = "float8-e4m3fn (fp16 LoRA)"


@contextmanager
def stored_as(studio: Studio, value: str) -> Iterator[None]:
    name, _ = FP8[studio.target.storage]
    try:
        with studio.client.option(name, value):
            load_again(studio)
            yield
    finally:
        load_again(studio)


def load_again(studio: Studio) -> None:
    """Forge heeds a new storage type at the next checkpoint; AUTOMATIC1111 keeps rounded weights until then."""
    with studio.on(studio.other_modules()):
        studio.draw(steps=1)


def test_fp8(studio: Studio) -> None:
    if studio.target.forge:
        studio.need(studio.target.storage, "setting for fp8 weights")
    plain = studio.draw()
    with stored_as(studio, FP8[studio.target.storage][1]):
        studio.assert_changed_at_all(studio.draw(), plain)
        studio.check()
        if studio.target.loras:
            studio.check(prompt=f"a photo of a cat <lora:{studio.target.loras[0]}:0.8>")
        studio.check()


def test_fp8_with_loras_merged_on_each_use(studio: Studio) -> None:
    if not studio.target.storage:
        pytest.skip(f"{studio.target.name} merges LoRAs into fp8 weights once")
    studio.need(studio.target.loras, "LoRA for SD1.5")
    with stored_as(studio, FP8_WITH_LORAS_ON_EACH_USE):
        prompt, settings = f"a photo of a cat <lora:{studio.target.loras[0]}:0.8>", {**RATIOS, "k": 1.5}
        mine = studio.crdiff(settings, prompt=prompt)
        studio.assert_changed(mine, studio.draw(prompt=prompt))
        # What was counted with the LoRA must not be taken for the checkpoint's own.
        studio.check()


def test_token_merging(studio: Studio) -> None:
    plain = studio.draw()
    with studio.client.option("token_merging_ratio", 0.5):
        studio.assert_changed_at_all(studio.draw(), plain)
        studio.check()


@pytest.mark.full  # a WebUI is started for each
@pytest.mark.parametrize("flag", ["--lowvram", "--medvram"])
def test_memory_flags(studio: Studio, flag: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """They split the model up between CPU and GPU; without a GPU only their hooks are left of them."""
    name: str = request.node.callspec.params["target"]
    if studio.target.forge:
        pytest.skip(f"{studio.target.name} has no {flag}")
    if not can_restart(name):
        pytest.skip("a WebUI that is attached to is not restarted with other flags")
    with running(name, tmp_path, [flag]) as target:
        split = Studio(target)
        with split.on(split.checkpoint(layout="sd15", inpainting=False)), split.untouched():
            split.check()
            if target.loras:
                split.check(prompt=f"a photo of a cat <lora:{target.loras[0]}:0.8>")
            studio.assert_same(split.draw(), studio.draw())
