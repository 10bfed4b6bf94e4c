"""What an evaluation asks of a WebUI beside images: calibrations, and other extensions' scripts."""

from __future__ import annotations

import base64
import io
import json

import pytest
from PIL import Image

from crdiff.calibration import remote
from crdiff.calibration.kept import Kept
from crdiff.errors import CRDiffError, SettingsError
from crdiff.evaluation.calibrating import calibrated
from crdiff.evaluation.engine import Request
from crdiff.evaluation.errors import EvaluationError
from crdiff.evaluation.images import Plan
from crdiff.evaluation.ways import Way
from crdiff.evaluation.webui_engine import WebUIEngine
from crdiff.presets.library import PresetLibrary
from crdiff.presets.size import Size
from crdiff.settings import Settings

SIZE = Size(64, 48)


class CalibratingWebUI:
    """Keeps what it is asked for; a calibration ends as ``ends`` says, at the second time it is asked about."""

    def __init__(self, ends="done", lacking=()):
        self.ends, self.lacking = ends, lacking
        self.bodies, self.kept, self.asked = [], [], 0

    def call(self, method, path, body=None):
        if path == "/sdapi/v1/samplers":
            return [{"name": "Euler"}]
        if path == "/sdapi/v1/options":
            return {}
        if path.startswith("/crdiff/v1/checkpoint"):
            return {"name": "mine", "sha256": "2" * 64, "family": "sd15", "problem": None}
        if path == "/crdiff/v1/calibrations":
            return self.kept
        if path.startswith("/crdiff/v1/calibrations/"):
            self.kept = [one for one in self.kept if one["name"] != path.rpartition("/")[2]]
            return {}
        if path == "/sdapi/v1/txt2img":
            stream = io.BytesIO()
            Image.new("RGB", (8, 8)).save(stream, format="PNG")
            self.bodies.append(body)
            return {"images": [base64.b64encode(stream.getvalue()).decode()], "info": json.dumps({"infotexts": ["a"]})}
        if method == "POST":
            self.bodies.append(body)
            return {"id": "7"}
        self.asked += 1
        if method == "DELETE":
            self.ends = "stopped"
        if self.asked < 2:
            return {"state": "running", "message": "Image 1 of 16", "calibration": None}
        if self.ends != "failed":
            one = {"id": "new", "name": "a-b", "checkpoint": "2" * 64, "modifiers": []}
            self.kept = [{**one, "lacking": dict.fromkeys(self.lacking, "more")}]
        return {"state": self.ends, "message": f"It is {self.ends}.", "calibration": "a-b" if self.kept else None}


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    monkeypatch.setattr(remote, "_POLL_S", 0.0)


def planned(engine, *ways):
    base = Settings(preset="custom", up=0.3)
    drawings = [Way.parse(text).at(SIZE, base, engine.checkpoint, PresetLibrary()) for text in ways]
    return Plan(("a",), (1,), {SIZE: drawings})


FIG8 = ("dense", "crdiff", "crdiff:criterion=wanda", "crdiff:criterion=obs-diff", "crdiff:criterion=taylor")


def test_all_that_the_ways_need_is_calibrated_at_once_and_said(capsys):
    scripts = {"alwayson_scripts": {"ControlNet": {"args": [{"enabled": True}]}}, "script_name": "X/Y/Z plot"}
    webui = CalibratingWebUI()
    engine = WebUIEngine(webui, {"steps": 3, "negative_prompt": "bad", **scripts}, "mine")
    plan = planned(engine, *FIG8)
    need = "wanda and obs-diff and taylor need a calibration with whole Hessians and gradients of mine"
    with pytest.raises(SettingsError, match=f"^{need}: --calibrate makes it before anything is drawn.$"):
        calibrated(plan, engine, make=False, should_stop=lambda: False)
    assert webui.bodies == []
    found = calibrated(plan, engine, make=True, should_stop=lambda: False)
    assert [one.calibration for one in found.drawings[SIZE]] == ["", "", "new", "new", "new"]
    (body,) = webui.bodies
    assert body == {
        "sampler_name": "Euler", "steps": 3, "negative_prompt": "bad",
        "override_settings": {"sd_model_checkpoint": "mine"}, "calibration": {"hessians": "whole", "gradients": True},
    }  # fmt: skip
    assert capsys.readouterr().out.splitlines() == [f"{need}, which is made first.", "Image 1 of 16", "It is done."]
    assert calibrated(plan, engine, make=False, should_stop=lambda: False) == found


def test_a_calibration_that_is_stopped_or_fails_leaves_nothing():
    webui = CalibratingWebUI()
    engine = WebUIEngine(webui, {})
    plan = planned(engine, "crdiff:criterion=wanda")
    assert calibrated(plan, engine, make=True, should_stop=lambda: True) is None
    assert webui.kept == []
    engine = WebUIEngine(CalibratingWebUI("failed"), {})
    with pytest.raises(EvaluationError, match="It is failed"):
        calibrated(plan, engine, make=True, should_stop=lambda: False)
    engine = WebUIEngine(CalibratingWebUI(lacking=["wanda"]), {})
    with pytest.raises(EvaluationError, match="mine was calibrated, and wanda cannot go by it"):
        calibrated(plan, engine, make=True, should_stop=lambda: False)


@pytest.mark.parametrize(
    ("criteria", "kept", "text"),
    [
        (["magnitude", "wanda"], ("none", False), "a calibration"),
        (["channels"], ("diagonals", False), "a calibration with Hessians"),
        (["channels", "heads"], ("whole", False), "a calibration with whole Hessians"),
        (["taylor"], ("none", True), "a calibration with gradients"),
    ],
)
def test_a_calibration_keeps_as_little_as_serves_all(criteria, kept, text):
    found = Kept.for_criteria(criteria)
    assert (found.hessians, found.gradients) == kept and found.text == text


def test_scripts_of_other_extensions_are_sent_and_tell_images_apart():
    def unit(**changes):
        return {"alwayson_scripts": {"ControlNet": {"args": [{"model": "canny", "image": "a" * 5000, **changes}]}}}

    webui = CalibratingWebUI()
    requests = [
        {},
        unit(),
        unit(model="depth"),
        unit(image="b" * 5000),
        {"script_name": "s", "script_args": ["c" * 5000]},
    ]
    engines = [WebUIEngine(webui, request) for request in requests]
    told = [json.dumps(engine.identity) for engine in engines]
    assert len(set(told)) == len(told) and max(map(len, told)) < 1000
    engines[1].draw(Request("a", 4, SIZE, Settings()))
    sent = webui.bodies[-1]["alwayson_scripts"]
    assert sent == {**unit()["alwayson_scripts"], "cr-diff": {"args": [Settings().to_dict()]}}


@pytest.mark.parametrize("scripts", [{"CR-Diff": {"args": []}}, ["ControlNet"]], ids=str)
def test_scripts_that_cannot_be_sent_are_one_sentence(scripts):
    with pytest.raises(CRDiffError, match="alwayson_scripts"):
        WebUIEngine(CalibratingWebUI(), {"alwayson_scripts": scripts})
