"""The engines of ``crdiff.evaluation``: diffusers against its own pipelines, and what a WebUI is asked for."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_diffusers import pruned_copy
from small_pipeline import small_pipeline

from crdiff.errors import SettingsError
from crdiff.evaluation import diffusers_engine
from crdiff.evaluation.diffusers_engine import DiffusersEngine, load
from crdiff.evaluation.engine import Request, Sampling
from crdiff.evaluation.errors import EvaluationError
from crdiff.evaluation.ways import Way
from crdiff.evaluation.webui_engine import WebUIEngine
from crdiff.models.architecture import family_named
from crdiff.presets.library import PresetLibrary
from crdiff.presets.size import Size
from crdiff.settings import Settings

RATIOS = {"down": 0.3, "mid": 0.4, "up": 0.5}
SIZE = Size(64, 48)


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    return small_pipeline(tmp_path_factory.mktemp("tokenizer"))


def by_the_pipeline(pipe, seed=5):
    generator = torch.Generator().manual_seed(seed)
    return np.asarray(pipe("a cat", height=64, width=48, num_inference_steps=2, generator=generator).images[0])


def test_each_way_draws_what_it_says(pipe):
    engine = DiffusersEngine(pipe, Sampling(steps=2), "small")
    images = {}
    for way in ("dense", "pruned", "crdiff", "attenuation", "attention"):
        settings = (
            Way.parse(way).at(SIZE, Settings(preset="custom", **RATIOS), engine.checkpoint, PresetLibrary()).settings
        )
        drawn = engine.draw(Request("a cat", 5, SIZE, settings))
        images[way] = np.asarray(drawn.image)
        assert ("CR-Diff k: 1.5" in drawn.infotext) == (way in ("crdiff", "attention"))
        told = dict(part.split(": ") for part in drawn.infotext.splitlines()[-1].split(", "))
        if way in ("pruned", "crdiff"):  # down is at its default
            assert {name: told[f"CR-Diff {name}"] for name in RATIOS} == {"down": "0.3", "mid": "0.4", "up": "0.5"}
        assert ("CR-Diff attention scale: auto" in drawn.infotext) == (way == "attention")
    assert engine.checkpoint.family == family_named("sd15")
    assert np.array_equal(images["dense"], by_the_pipeline(pipe))
    offline = copy.copy(pipe)
    offline.unet = pruned_copy(pipe.unet, RATIOS)
    assert np.array_equal(images["pruned"], by_the_pipeline(offline))
    weak = copy.copy(pipe)
    weak.unet = copy.deepcopy(pipe.unet)
    for name, module in weak.unet.named_modules():
        if re.search(r"(attn1\.(to_[qkv]|to_out\.0)|ff\.net\.(0\.proj|2))$", name):
            module.weight.data *= 0.9
    assert np.abs(images["attenuation"].astype(int) - by_the_pipeline(weak)).max() <= 1
    assert len({image.tobytes() for image in images.values()}) == 5


def test_a_folder_is_told_from_others_by_its_whole_name_and_its_weights(pipe, tmp_path, monkeypatch):
    monkeypatch.setattr(diffusers_engine, "_pipeline", lambda model, dtype: copy.copy(pipe))
    found = []
    for name, unet, vae in (
        ("sd-v1.4", b"4", b"1"),
        ("sd-v1.5", b"4", b"1"),
        ("a/sd-v1.5", b"5", b"1"),
        ("b/x", b"4", b"2"),
    ):
        for part, weights in {"unet": unet, "vae": vae}.items():
            path = tmp_path / name / part / "diffusion_pytorch_model.safetensors"
            path.parent.mkdir(parents=True)
            path.write_bytes(weights)
        found.append(load(tmp_path / name, Sampling(), "cpu").identity)
    assert [one["model"] for one in found] == ["sd-v1.4", "sd-v1.5", "sd-v1.5", "x"]
    assert found[0]["weights"] == found[1]["weights"]
    assert len({one["weights"] for one in found}) == 3
    assert found[0]["scheduler_config"]["beta_end"] == str(pipe.scheduler.config.beta_end)


def test_a_pipeline_that_cannot_be_pruned_or_sampled_so_is_refused(pipe):
    with pytest.raises(SettingsError, match="diffusers has no scheduler 'Euler'"):
        DiffusersEngine(copy.copy(pipe), Sampling(sampler="Euler"), "small")
    other = copy.copy(pipe)
    assert DiffusersEngine(other, Sampling(sampler="EulerDiscreteScheduler"), "small").identity["scheduler"] == (
        "EulerDiscreteScheduler"
    )
    assert other.scheduler.config.beta_end == pipe.scheduler.config.beta_end
    with pytest.raises(SettingsError, match="multiples of 8"):
        DiffusersEngine(other, Sampling(), "small").check(Size(60, 64), Settings())


class FakeWebUI:
    def __init__(self, infotext):
        self.infotext, self.bodies = infotext, []
        self.options = {"sd_vae": "Automatic", "CLIP_stop_at_last_layers": 1}
        self.calibrations, self.overridden = [], {}

    def call(self, method, path, body=None):
        if path == "/sdapi/v1/samplers":
            return [{"name": "Euler"}, {"name": "DDIM"}]
        if path == "/crdiff/v1/calibrations":
            return self.calibrations
        if path.startswith("/crdiff/v1/checkpoint"):
            return {"name": "mine", "sha256": "2" * 64, "family": "sd15", "problem": None}
        if path == "/sdapi/v1/options":
            return {**self.options, **self.overridden, "samples_format": "png"}
        if path.startswith("/sdapi/v1/progress"):
            jobs, self.overridden = len(self.overridden), {}
            return {"state": {"job_count": jobs}}
        self.bodies.append(body)
        png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
        return {"images": [png], "info": json.dumps({"infotexts": [self.infotext]})}


# As WebUIs write them: every setting of an enabled job, a source where something was done, a note where not.
TOLD = "a\nSteps: 3, CR-Diff version: 1.0.0, CR-Diff preset: custom, CR-Diff down: 0.3, CR-Diff k: 1.5"
REFUSED = f"{TOLD}, CR-Diff note: There is no UNet."
PRUNED = f"{TOLD}, CR-Diff source: custom ratios"
SCALED = (
    f'{TOLD}, CR-Diff attention scale: auto 512x512, CR-Diff source: "no pruning, self-attention scaled for 512x512"'
)


def test_a_webui_is_asked_for_each_image():
    webui = FakeWebUI(PRUNED)
    engine = WebUIEngine(webui, {"steps": 3}, "mine")
    settings = Settings(enabled=True, preset="custom", k=1.5)
    assert engine.draw(Request("a", 4, Size(64, 96), settings)).image.size == (1, 1)
    (body,) = webui.bodies
    assert (body["prompt"], body["seed"], body["height"], body["width"], body["steps"]) == ("a", 4, 64, 96, 3)
    assert body["alwayson_scripts"]["cr-diff"]["args"] == [settings.to_dict()]
    assert body["override_settings"] == {"sd_model_checkpoint": "mine"} and body["save_images"] is False
    assert engine.identity["options"] == {"sd_vae": "Automatic", "CLIP_stop_at_last_layers": 1}
    webui.overridden = {"CLIP_stop_at_last_layers": 2}  # by a job of somebody else's, until it ends
    engine.draw(Request("a", 4, Size(64, 96), settings))
    webui.options = {"sd_vae": "other.safetensors", "s_tmax": float("inf"), "eta_noise_seed_delta": 3}
    with pytest.raises(EvaluationError, match="setting sd_vae was changed meanwhile; put it back to resume"):
        engine.draw(Request("a", 4, Size(64, 96), settings))
    other = WebUIEngine(webui, {"steps": 3, "override_settings": {"eta_noise_seed_delta": 4}}, "mine").identity
    assert other["options"] == {"sd_vae": "other.safetensors", "s_tmax": "inf"}  # of a host without clip skip
    assert other["request"]["override_settings"] == {"eta_noise_seed_delta": 4, "sd_model_checkpoint": "mine"}


def test_the_sampler_is_named_even_where_nobody_asked_for_one():
    asked = {"Euler": {}, "DDIM": {"sampler_name": "DDIM"}, None: {"sampler_index": "DDIM"}}
    for name, request in asked.items():
        webui = FakeWebUI("a")
        engine = WebUIEngine(webui, request)
        engine.draw(Request("a", 4, SIZE, Settings()))
        assert webui.bodies[0].get("sampler_name") == engine.identity["request"].get("sampler_name") == name


def test_the_calibration_that_a_criterion_goes_by_is_known_and_stays():
    webui = FakeWebUI(PRUNED)
    engine = WebUIEngine(webui, {})
    wanda = Settings(enabled=True, preset="custom", criterion="wanda")
    assert engine.calibration(Settings(enabled=True)) == engine.calibration(replace(wanda, enabled=False)) == ""
    # As the WebUI lists them: of another checkpoint, one that does not suffice, the latest that does, an older one.
    own = [
        {
            "id": f"{n}",
            "name": f"mine-{n}-way",
            "checkpoint": "2" * 64,
            "lacking": {"wanda": "more"} if n == 1 else {},
            "modifiers": [],
        }
        for n in range(4)
    ]
    # One of the same weights that does suffice is not the latest of them, and counts for nothing.
    webui.calibrations = [{**own[0], "checkpoint": "3" * 64}, own[1], {**own[0], "name": "mine-1-other way"}]
    assert engine.calibration(wanda) is None
    webui.calibrations += [{**own[2], "id": "of a LoRA", "modifiers": ["mine 0.5"]}, *own[2:]]
    assert engine.calibration(wanda) == "2"
    engine.draw(Request("a", 4, SIZE, wanda))
    webui.calibrations.insert(0, {**own[0], "id": "new", "name": "mine-2-new way"})
    engine.draw(Request("a", 4, SIZE, Settings(enabled=True, preset="custom")))
    with pytest.raises(EvaluationError, match="calibrated anew meanwhile"):
        engine.draw(Request("a", 4, SIZE, wanda))


@pytest.mark.parametrize(
    ("changes", "done", "failed"),
    [
        ({}, [PRUNED], [TOLD, REFUSED, SCALED]),
        ({"attention_scale": "auto"}, [PRUNED], [TOLD, REFUSED, SCALED]),
        ({"down": 0.0, "mid": 0.0, "up": 0.0, "attention_scale": "auto"}, [SCALED], [TOLD, REFUSED]),
        ({"k": 0.0}, [TOLD], []),
        ({"enabled": False}, ["a\nSteps: 3", REFUSED], []),
    ],
)
def test_a_webui_has_to_do_what_is_evaluated(changes, done, failed):
    webui = FakeWebUI("")
    engine = WebUIEngine(webui, {"steps": 3}, "mine")
    request = Request("a", 4, Size(64, 96), Settings(**{"enabled": True, "preset": "custom", **changes}))
    for webui.infotext in done:
        engine.draw(request)
    for webui.infotext in failed:
        with pytest.raises(EvaluationError, match=r"The WebUI drew without CR-Diff: (There is no UNet|its infotext)"):
            engine.draw(request)
