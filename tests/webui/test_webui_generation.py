"""A job of the host: what its infotext says of passes in which CR-Diff acted, and why of those in which it did not."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest
import torch
from torch import nn

from crdiff.errors import SettingsError
from crdiff.method.groups import Ratios
from crdiff.models.family import OTHER
from crdiff.presets.library import PresetLibrary
from crdiff.presets.size import Size
from crdiff.presets.table import Preset
from crdiff.pruning.store import Store
from crdiff.settings import Settings
from crdiff.webui.generation import ActiveSlot, Generation, read_settings, refuse

WIDTH = 8
STEPS = 4
RATIOS: dict[str, Any] = {"preset": "custom", "down": 0.3974999, "mid": 0.4, "up": 0.5}


class Stage(nn.Module):
    """As much of a transformer block as has weights to prune."""

    def __init__(self) -> None:
        super().__init__()
        block = nn.Module()
        block.attn1 = nn.Module()
        block.attn1.to_q = nn.Linear(WIDTH, WIDTH)
        self.transformer_blocks = nn.ModuleList([block])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.tanh(self.transformer_blocks[0].attn1.to_q(x))


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.input_blocks, self.middle_block = nn.ModuleList([nn.Sequential(Stage())]), nn.Sequential(Stage())
        self.output_blocks = nn.ModuleList([nn.Sequential(Stage())])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.output_blocks[0](self.middle_block(self.input_blocks[0](x)))


class Wrapper(nn.Module):
    """The host's wrapper of the UNet, which the hook is on."""

    def __init__(self) -> None:
        super().__init__()
        self.diffusion_model = UNet().requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.diffusion_model(x)


class Job:
    """The host's processing object and sampler in one, as far as a script meets them."""

    is_api = False

    def __init__(self, slot: ActiveSlot) -> None:
        self.extra_generation_params: dict[str, Any] = {}
        self.comments: list[str] = []
        self.comment = self.comments.append
        self.is_hr_pass = False
        self.sampler, self.model_wrap_cfg = self, types.SimpleNamespace(step=0, total_steps=STEPS)
        self.slot, self.model = slot, Wrapper()

    def launch_sampling(self, steps: int, call: Any) -> None:
        for step in range(steps):
            self.model_wrap_cfg.step = step
            if self.slot.current is not None:
                self.slot.current.on_denoiser(self.model_wrap_cfg, STEPS)
            call(torch.ones(2, WIDTH))

    def draw(self, settings: Settings, library: PresetLibrary, hires: bool = False, **how: Any) -> dict[str, Any]:
        """The infotext's entries of CR-Diff. ``how``: ``steps``, and ``call`` in place of the host's own."""
        settings = read_settings((settings.to_dict(),), {}, library)
        generation = Generation(settings, library, Store(), self.slot)
        generation.note_settings(self)
        if how.get("steps") is not None or not how.get("replaced"):
            for self.is_hr_pass in (False, True)[: 1 + hires]:
                generation.before_sampling(self, torch.zeros(1, 4, 8, 8 + 4 * self.is_hr_pass))
                self.launch_sampling(how.get("steps", STEPS), how.get("call", self.model))
        generation.after_batch(self)
        assert "launch_sampling" not in vars(self) and "forward" in Wrapper.__dict__
        return {key.removeprefix("CR-Diff "): value for key, value in self.extra_generation_params.items()}


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Job:
    host = types.ModuleType("modules")
    host.shared = types.SimpleNamespace(opts=types.SimpleNamespace(), sd_model=types.SimpleNamespace())
    host.shared.cmd_opts = types.SimpleNamespace()
    host.devices = types.SimpleNamespace(dtype_unet=torch.float32)
    host.sd_unet = types.SimpleNamespace(current_unet=None)
    ldm = types.ModuleType("ldm.models.diffusion.ddpm")
    ldm.DiffusionWrapper = Wrapper
    for module in (host, ldm):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return Job(ActiveSlot())


@pytest.fixture
def library(tmp_path: Any) -> PresetLibrary:
    return PresetLibrary(tmp_path)


def test_what_was_drawn_is_written_in_full(job: Job, library: PresetLibrary) -> None:
    found = job.draw(Settings(True, **RATIOS, k=1.51234), library)
    assert [found[key] for key in ("down", "mid", "up", "k")] == ["0.3974999", "0.4", "0.5", "1.51234"]
    assert found["source"] == "custom ratios"
    assert "note" not in found and job.comments == []


@pytest.mark.parametrize(
    ("settings", "how", "note"),
    [
        ({"k": 0.0}, {}, "k is 0, which is the dense model alone."),
        ({"down": 0.0, "mid": 0.0, "up": 0.0}, {}, "All ratios are 0, so there is nothing to prune."),
        ({"down": 1e-6, "mid": 1e-6, "up": 1e-6}, {}, "The ratios are too small to leave anything out."),
        ({"start": 0.5, "end": 0.5}, {}, "No step lies between start 0.5 and end 0.5."),
        ({"start": 0.3, "end": 0.4}, {}, "No step lies between start 0.3 and end 0.4."),
        ({"hires": "second"}, {}, "CR-Diff is set to act in the second pass of Hires. fix only, and there was none."),
        ({}, {"steps": 0}, "The sampler called the UNet in no step."),
        ({}, {"call": lambda x: x}, "Another extension computed the UNet in every step."),
        ({}, {"replaced": True}, "Another extension drew the image by itself, without the host's sampler."),
        ({"preset": "auto"}, {}, "CR-Diff has no presets for this model's family; choose Custom and set the ratios."),
    ],
)
def test_an_image_without_crdiff_says_why(
    job: Job, library: PresetLibrary, settings: dict[str, Any], how: dict[str, Any], note: str
) -> None:
    found = job.draw(Settings(True, **{**RATIOS, **settings}), library, **how)
    assert found["note"] == note
    assert len(job.comments) == 1 and note in job.comments[0]
    assert ("source" in found) == ("too small" in note)


def test_the_second_pass_alone_is_told_as_the_first_would_be(job: Job, library: PresetLibrary) -> None:
    found = job.draw(Settings(True, **RATIOS, hires="second"), library, hires=True)
    assert (found["source"], found["hires"]) == ("custom ratios", "second")
    assert not {"note", "hires ratios", "hires k"} & found.keys()


def test_ratios_of_the_second_pass_are_drawn_and_told(job: Job, library: PresetLibrary) -> None:
    second = {"down": 0.0, "mid": 0.0, "up": 0.0, "hires_ratios": "0.1/0.2/0.3/1.25"}
    found = job.draw(Settings(True, **{**RATIOS, **second}), library, hires=True)
    assert [found[key] for key in ("down", "hires ratios", "hires k", "source")] == [
        "0", "0.1/0.2/0.3", "1.25", "custom ratios",
    ]  # fmt: skip
    assert found["note"] == "First pass: All ratios are 0, so there is nothing to prune."


def test_a_presets_name_is_written_as_it_is_saved(job: Job, library: PresetLibrary) -> None:
    preset = Preset.own("Mine", OTHER, Size(64, 64), Ratios(0.25, 0.25, 0.25), 1.25, "0" * 64)
    library.store.save(preset)
    found = job.draw(Settings(True, " mINE "), library)
    assert [found[key] for key in ("preset", "down", "k")] == ["Mine", "0.25", "1.25"]


@pytest.mark.parametrize("by_api", [True, False])
def test_a_refusal_is_one_line_on_the_console_and_an_answer_of_the_api(
    job: Job, library: PresetLibrary, caplog: pytest.LogCaptureFixture, by_api: bool
) -> None:
    from fastapi import HTTPException

    job.is_api = by_api
    with pytest.raises(SettingsError) as error:
        read_settings(({"enabled": True, "preset": "x" * 10_000},), {}, library)
    refuse(job, error.value)
    # The host answers an HTTPException without a traceback, and shows another error where it shows its own.
    with pytest.raises(HTTPException if by_api else SettingsError) as raised:
        job.sample()
    assert (raised.value.status_code, raised.value.detail) == (422, str(error.value))
    assert len(caplog.messages) == by_api
    assert all("\n" not in line and len(line) < 200 for line in caplog.messages)


class Sequence(nn.Module):
    """As much of Lumina 2 as tells it, in three blocks."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("x_embedder", "cap_embedder", "noise_refiner", "context_refiner"):
            self.add_module(name, nn.Identity())
        self.layers = nn.ModuleList([nn.Module() for _ in range(3)])
        for layer in self.layers:
            layer.feed_forward = nn.Module()
            layer.feed_forward.w1 = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = x + torch.tanh(layer.feed_forward.w1(x))
        return x


def test_a_transformers_layers_are_told_and_too_much_in_few_steps(job: Job, library: PresetLibrary) -> None:
    job.model.diffusion_model = Sequence().requires_grad_(False)
    found = job.draw(Settings(True), library)
    assert [found[key] for key in ("down", "layers")] == ["0.1", "released"]
    assert found["source"].startswith("no preset has been published for Lumina 2") and "note" not in found
    found = job.draw(Settings(True, **RATIOS, threshold="group"), library)
    assert (found["layers"], found["threshold"]) == ("released", "group")
    assert "up to 0.1" in found["note"] and "up to 0.1" in job.comments[-1]
