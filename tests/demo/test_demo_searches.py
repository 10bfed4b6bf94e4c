"""The commands that search the demo model's presets, stages and ratios for single prompts, and compare strategies."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import sys
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from crdiff.method.groups import Ratios
from crdiff.method.schedule import Schedule
from crdiff.models.family import OTHER
from crdiff.presets.own_document import from_text, to_text
from crdiff.presets.size import Size
from crdiff.presets.table import Preset
from demo.evaluate import find_presets, prompts, stages, strategies
from demo.evaluate.judge import Judge
from demo.evaluate.model import DENSE, DemoModel, Drawing
from demo.evaluate.objective import noise_seed
from demo.scenes.scene import judging_scenes, search_scenes


def test_presets_are_found_kept_and_resumed(checkpoint, tmp_path, monkeypatch, capsys):
    out, work = tmp_path / "presets.json", tmp_path / "work"
    model = DemoModel(checkpoint)
    other = Preset.own("Demo 64x64", OTHER, Size(64, 64), Ratios(0.1, 0.1, 0.1), None, model.sha256)
    stale = Preset.own("Demo 96x64", OTHER, Size(96, 64), Ratios(0.1, 0.1, 0.1), None, "f" * 64)
    weak = replace(other, name="weak", size=Size(64, 96), criterion="attenuation")
    out.write_text(to_text([other, stale, weak]), encoding="utf-8")
    command = ["find_presets", "64x96", "--evaluations", "3", "--prompts", "2", "--steps", "1"]
    command += ["--k-prompts", "3", "--amplifications", "1", "1.5"]
    command += ["--checkpoint", str(checkpoint), "--work", str(work), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", command)
    find_presets.main()
    *kept, found = from_text(out.read_text("utf-8"))
    assert kept == [other, weak] and found.size == Size(64, 96)
    assert found.checkpoints == {model.sha256} and found.limited
    assert all(0.1 <= ratio <= 0.8 for ratio in found.ratios)
    means = {k: sum(scores) / len(scores) for k, scores in scores_by_k(model, found).items()}
    assert found.k == max(means, key=means.get)
    written = {path: path.read_bytes() for path in work.iterdir()}
    find_presets.main()
    assert {path: path.read_bytes() for path in work.iterdir()} == written
    assert from_text(out.read_text("utf-8"))[-1] == found
    others = Schedule.constant(Ratios(0.2, 0.2, 0.2))
    out.write_text(to_text([replace(found, schedule=others, k=None)]), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", [*command, "--only-k"])
    find_presets.main()
    (again,) = from_text(out.read_text("utf-8"))
    assert again.ratios == Ratios(0.2, 0.2, 0.2) and again.k in (1.0, 1.5)


def scores_by_k(model, preset):
    """What the images of the first three search prompts score with the preset's ratios, drawn one by one."""
    size = (preset.size.height, preset.size.width)
    scores = {}
    for k in (1.0, 1.5):
        for scene in search_scenes(3):
            noise = noise_seed(scene.caption(), find_presets.K_SEEDS[0])
            (image,) = model.draw([scene.caption()], [noise], size, preset.ratios, k, Drawing(steps=1))
            scores.setdefault(k, []).append(Judge().verdict([image], [scene]).scores[0])
    return scores


def test_stages_are_compared_with_one_stage_caption_by_caption(checkpoint, tmp_path, monkeypatch, capsys):
    path = tmp_path / "stages.json"
    command = ["stages", "64x96", "--searches", "1", "--evaluations", "2", "--prompts", "1", "--judged", "2"]
    command += ["--steps", "1", "--checkpoint", str(checkpoint), "--work", str(tmp_path), "--json", str(path)]
    monkeypatch.setattr(sys, "argv", command)
    stages.main()
    results = json.loads(path.read_text("utf-8"))
    (found,) = results["64x96"]["magnitude, 3"]
    assert found["point"] == {"down": 0.1, "mid": 0.1, "up": 0.1, "k": 1.5} and len(found["right"]) == 4
    # Two captions of two images each: one stage has 1 of 4 right, three stages 3 of 4, dense none.
    for name, right in (("dense", "0000"), ("magnitude, 1", "0100"), ("magnitude, 3", "1101")):
        results["64x96"][name] = [{"right": right}]
    path.write_text(json.dumps(results), encoding="utf-8")
    capsys.readouterr()
    stages.main()
    lines = [line.split(" | ") for line in capsys.readouterr().out.splitlines()]
    assert [line[3].split()[0] for line in lines[2:]] == ["0.0", "25.0", "75.0"]
    assert [line[5].split()[0] for line in lines[2:]] == ["|", "|", "+50.0"]


def test_searches_for_single_prompts_are_measured_on_seeds_they_have_not_seen(
    server, checkpoint, tmp_path, monkeypatch, capsys
):
    presets, figures, work = tmp_path / "presets.json", tmp_path / "figures.json", tmp_path / "work"
    sha256 = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    preset = Preset.own("Demo 64x96", OTHER, Size(64, 96), Ratios(0.5, 0.4, 0.3), 1.0, sha256)
    presets.write_text(to_text([preset]), encoding="utf-8")
    command = ["prompts", "64x96", "--prompts", "2", "--evaluations", "2", "--steps", "1", "--json", str(figures)]
    command += ["--url", server.url, "--presets", str(presets), "--work", str(work)]
    monkeypatch.setattr(sys, "argv", command)
    prompts.main()
    kept = json.loads(figures.read_text("utf-8"))
    found, scene = kept["64x96"][1], judging_scenes(2)[1]

    def scores(ratios, k, seeds):
        """Of images that the WebUI draws when no search runs."""
        settings = {"enabled": k > 0, "down": ratios.down, "mid": ratios.mid, "up": ratios.up, "k": k}
        images = []
        for seed in seeds:
            body = {"prompt": scene.caption(), "seed": noise_seed(scene.caption(), seed), "height": 64, "width": 96}
            body |= {"steps": 1, "cfg_scale": 3, "sampler_name": "DPM++ 2M", "scheduler": "Uniform"}
            body["alwayson_scripts"] = {"cr-diff": {"args": [settings]}}
            (image,) = server.post("/sdapi/v1/txt2img", body)["images"]
            images.append(np.array(Image.open(io.BytesIO(base64.b64decode(image)))))
        return Judge().verdict(images, [scene] * len(images)).scores

    def close(score):
        return pytest.approx(score, rel=1e-3, abs=0.0)

    dense = scores(DENSE, 0.0, prompts.SEARCH_SEEDS).mean()
    pruned = scores(preset.ratios, 1.0, prompts.SEARCH_SEEDS).mean()
    assert found["dense"] == close(dense) and found["preset"] == close(pruned) and dense != close(pruned)
    assert found["search"] == max(found["dense"], found["preset"])
    assert found["preset_elsewhere"] == close(scores(preset.ratios, 1.0, prompts.OTHER_SEEDS).mean())
    # Two evaluations of two images each.
    assert found["best_dense"] == close(scores(DENSE, 0.0, range(1000, 1004)).max())
    shown = capsys.readouterr().out
    assert "| ratios for the prompt, other seeds |" in shown
    prompts.main()
    assert json.loads(figures.read_text("utf-8")) == kept


def test_strategies_are_compared_at_equal_budgets_and_racing_in_exact_mode_changes_nothing(
    server, tmp_path, monkeypatch, capsys
):
    figures, plot = tmp_path / "figures.json", tmp_path / "plot.svg"
    command = ["strategies", "--size", "64x64", "--prompts", "2", "--evaluations", "3", "--seeds", "1", "--batch", "1"]
    command += ["--steps", "1", "--url", server.url, "--work", str(tmp_path / "work")]
    monkeypatch.setattr(sys, "argv", [*command, "--json", str(figures), "--plot", str(plot)])
    strategies.main()
    found = json.loads(figures.read_text("utf-8"))
    for runs in found["curves"].values():
        assert [len(run) for run in runs] == [3]
        assert runs[0] == sorted(runs[0])
    same = [runs for name, runs in found["curves"].items() if name != "annealing from 3"]
    assert len({run[0] for runs in same for run in runs}) == 1  # they start with the same point
    exact = found["racing"]["exact"]
    assert exact["same_walk"] == [True] and exact["best"] == exact["best_without"]
    assert exact["images"] <= exact["images_without"] == 4 * 2
    drawing = ElementTree.parse(plot).getroot()
    assert len(drawing.findall("{http://www.w3.org/2000/svg}polyline")) == 4
