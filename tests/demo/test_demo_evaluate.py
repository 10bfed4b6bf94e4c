"""The commands that measure the demo's presets: the table, the strip of images, rivals and overhead."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from crdiff.method.groups import Ratios
from crdiff.method.schedule import Schedule
from crdiff.models.family import OTHER
from crdiff.presets.own_document import to_text
from crdiff.presets.size import Size
from crdiff.presets.table import Preset
from demo.evaluate import __main__ as evaluate
from demo.evaluate import overhead, rivals, strip
from demo.evaluate.judge import Judge
from demo.evaluate.model import DENSE, DemoModel, Drawing
from demo.evaluate.objective import noise_seed
from demo.scenes.scene import judging_scenes


def test_the_evaluation_prints_a_table_and_keeps_all_figures(checkpoint, tmp_path, monkeypatch, capsys):
    presets, figures, grid = tmp_path / "presets.json", tmp_path / "figures.json", tmp_path / "grid.png"
    model = DemoModel(checkpoint)
    preset = Preset.own("Demo 64x96", OTHER, Size(64, 96), Ratios(0.5, 0.4, 0.3), None, model.sha256)
    other = replace(
        preset, name="weak", criterion="attenuation", k=1.0, schedule=Schedule.constant(Ratios(0.2, 0.6, 0.7))
    )
    presets.write_text(to_text([other, preset]), encoding="utf-8")
    command = ["evaluate", "--prompts", "3", "--seeds", "2", "--steps", "1", "--best-of", "2"]
    command += ["--checkpoint", str(checkpoint), "--presets", str(presets), "--json", str(figures), "--grid", str(grid)]
    monkeypatch.setattr(sys, "argv", command)
    evaluate.main()
    assert "| 64x96 | 0.5/0.4/0.3 | 1.5 | 0.2/0.6/0.7 |" in capsys.readouterr().out
    (row,) = json.loads(figures.read_text("utf-8"))
    assert row["prompts"] == 3 and row["seeds"] == 2 and row["best_of"]["n"] == 2
    for way in row["ways"].values():
        assert 0 <= way["score"]["value"] <= 1
    means = {}
    ways = (("dense", DENSE, 0.0), ("CR-Diff", preset.ratios, 1.5), ("attenuation", other.ratios, 1.0))
    for name, ratios, k in ways:
        by_prompt, drawing = [], Drawing(steps=1, criterion=name if name == other.criterion else "magnitude")
        for scene in judging_scenes(3):
            prompt, seeds = scene.caption(), [noise_seed(scene.caption(), seed) for seed in (1, 2)]
            drawn = model.draw([prompt] * 2, seeds, (64, 96), ratios, k, drawing)
            by_prompt.append(Judge().verdict(drawn, [scene] * 2).scores.mean())
        means[name] = np.array(by_prompt)
        assert row["ways"][name]["score"]["value"] == pytest.approx(means[name].mean(), rel=1e-4)
    assert len({mean.mean() for mean in means.values()}) == len(ways)
    gains = means["CR-Diff"] - means["dense"]
    gain = row["ways"]["CR-Diff"]["score_gain"]
    assert gain["value"] == pytest.approx(gains.mean(), rel=1e-3)
    assert gain["high"] - gain["value"] == pytest.approx(1.96 * gains.std(ddof=1) / 3**0.5, rel=1e-3)
    with Image.open(grid) as image:
        assert image.height > 64 and image.width > 3 * 3 * 96
    monkeypatch.setattr(sys, "argv", [*command, "512x512"])
    with pytest.raises(SystemExit, match="no preset for 512x512"):
        evaluate.main()


def test_figures_of_another_run_are_merged_and_not_drawn_again(checkpoint, tmp_path, monkeypatch, capsys):
    presets, other, figures = tmp_path / "presets.json", tmp_path / "other.json", tmp_path / "figures.json"
    made = [
        Preset.own(f"Demo 64x{width}", OTHER, Size(64, width), Ratios(0.5, 0.4, 0.3), 1.0,
                   DemoModel(checkpoint).sha256)
        for width in (64, 96)
    ]  # fmt: skip
    presets.write_text(to_text(made), encoding="utf-8")
    command = ["evaluate", "--prompts", "2", "--seeds", "1", "--steps", "1", "--checkpoint", str(checkpoint)]
    command += ["--presets", str(presets)]
    monkeypatch.setattr(sys, "argv", [*command, "64x96", "--json", str(other)])
    evaluate.main()
    kept = json.loads(other.read_text("utf-8"))
    kept[0]["ways"]["CR-Diff"]["right"]["value"] = 0.123
    other.write_text(json.dumps(kept), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", [*command, "--json", str(figures), "--merge", str(other)])
    evaluate.main()
    merged = json.loads(figures.read_text("utf-8"))
    assert [one["size"] for one in merged] == ["64x64", "64x96"] and merged[1] == kept[0]
    assert "| 12.3 (" in capsys.readouterr().out
    # Another number of prompts is another measurement.
    monkeypatch.setattr(sys, "argv", [*command, "64x96", "--prompts", "3", "--merge", str(other), "--json", str(other)])
    evaluate.main()
    assert json.loads(other.read_text("utf-8"))[0]["prompts"] == 3


def test_a_new_preset_for_another_criterion_is_drawn_beside_what_is_kept(checkpoint, tmp_path, monkeypatch):
    presets, figures, whole = tmp_path / "presets.json", tmp_path / "figures.json", tmp_path / "whole.json"
    model = DemoModel(checkpoint)
    preset = Preset.own("Demo 64x64", OTHER, Size(64, 64), Ratios(0.5, 0.4, 0.3), 1.0, model.sha256)
    weak = replace(preset, name="weak", criterion="attenuation")
    weaker = replace(weak, schedule=Schedule.constant(Ratios(0.7, 0.8, 0.9)))

    def evaluated(file, *known):
        presets.write_text(to_text(known), encoding="utf-8")
        command = ["evaluate", "--prompts", "2", "--seeds", "1", "--steps", "1", "--checkpoint", str(checkpoint)]
        monkeypatch.setattr(sys, "argv", [*command, "--presets", str(presets), "--json", str(file)])
        evaluate.main()
        (row,) = json.loads(file.read_text("utf-8"))
        return row

    assert "attenuation" in evaluated(figures, preset, weak)["ways"]
    anew = evaluated(whole, preset, weaker)
    drawn, draw = [], DemoModel.draw
    monkeypatch.setattr(DemoModel, "draw", lambda *asked: drawn.append(asked[4]) or draw(*asked))
    assert evaluated(figures, preset, weaker) == anew
    assert drawn == [DENSE, weaker.ratios]
    assert "attenuation" not in evaluated(figures, preset)["ways"]


def test_the_strip_shows_the_evaluations_first_images_and_how_many_are_right(checkpoint, tmp_path, monkeypatch, capsys):
    presets, out = tmp_path / "presets.json", tmp_path / "strip.png"
    model = DemoModel(checkpoint)
    preset = Preset.own("Demo 64x96", OTHER, Size(64, 96), Ratios(0.5, 0.4, 0.3), 2.0, model.sha256)
    other = replace(
        preset, name="weak", criterion="attenuation", k=1.0, schedule=Schedule.constant(Ratios(0.2, 0.6, 0.7))
    )
    presets.write_text(to_text([preset, other]), encoding="utf-8")
    command = ["strip", "--size", "64x96", "--captions", "2", "--steps", "1", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", [*command, "--checkpoint", str(checkpoint), "--presets", str(presets)])
    strip.main()
    shown, said = np.asarray(Image.open(out).convert("RGB")), capsys.readouterr().out
    ways = (
        ("dense", DENSE, 0.0, "magnitude"),
        ("CR-Diff", preset.ratios, 2.0, "magnitude"),
        ("CR-Diff, criterion attenuation", other.ratios, 1.0, "attenuation"),
    )
    for place, (name, ratios, k, criterion) in enumerate(ways):
        right = 0
        for column, scene in enumerate(judging_scenes(2)):
            noise = noise_seed(scene.caption(), 1)
            drawing = Drawing(steps=1, criterion=criterion)
            (image,) = model.draw([scene.caption()], [noise], (64, 96), ratios, k, drawing)
            top = place * (strip.LABEL + 64 + 2 * strip.BORDER + strip.GAP) + strip.LABEL + strip.BORDER
            left = column * (96 + 2 * strip.BORDER + strip.GAP) + strip.BORDER
            near = shown[top : top + 64, left : left + 96].astype(int) - image
            assert np.abs(near).max() <= 1  # two images in a batch may differ from one in the last bit
            right += Judge().verdict([image], [scene]).right[0]
        assert f"{name}, 64x96: {right} of 2 right" in said


def test_the_table_of_rivals_has_the_reports_figures_and_settings():
    def way(name, passes, settings, mean, gain):
        score = {"mean": dict(zip(("value", "low", "high"), mean)), "gain": gain}
        return {"way": name, "passes": passes, "settings": settings, "scores": {"right-1": score, "score-1": score}}

    ratios = {"enabled": True, "preset": "custom", "mid": 0.4, "up": 0.5, "k": 2.0}  # down is at its default
    none = {**ratios, "down": 0.0, "mid": 0.0, "up": 0.0}
    gain = {"value": 0.2, "low": 0.1, "high": 0.3}
    ways = [
        way("dense", 1.0, {}, (0.5, 0.4, 0.6), None),
        way("crdiff", 2.0, ratios, (0.7, 0.6, 0.8), gain),
        way("attention:attention_scale=auto 128x128", 1.0, none, (0.5, 0.4, 0.6), {**gain, "low": -0.1}),
    ]
    assert rivals.table({"sizes": {"80x128": ways}})[2:] == [
        "| 80x128 | dense |  |  | 1 | 50.0 (40.0-60.0) |  | 50.0 (40.0-60.0) |  |",
        "| 80x128 | CR-Diff | 0.3/0.4/0.5 | 2 | 2 | 70.0 (60.0-80.0) | **+20.0 (+10.0 to +30.0)** "
        "| 70.0 (60.0-80.0) | **+20.0 (+10.0 to +30.0)** |",
        "| 80x128 | attention scale |  |  | 1 | 50.0 (40.0-60.0) | +20.0 (-10.0 to +30.0) "
        "| 50.0 (40.0-60.0) | +20.0 (-10.0 to +30.0) |",
    ]


def test_overhead_is_told_as_ratios_of_the_same_round_and_as_dense_steps():
    steps = (4, 20, 40)
    dense = {(overhead.DENSE, count): [0.1 + 0.05 * count, 2 * (0.1 + 0.05 * count)] for count in steps}
    others = {
        (way, count): [2 * (0.1 + 0.05 * count) + 0.1, 2 * (2 * (0.1 + 0.05 * count) + 0.1)]
        for way in overhead.WAYS if way != overhead.DENSE for count in steps
    }  # fmt: skip
    lines = list(overhead.table({**dense, **others}, steps))
    assert lines[0] == "|  | 4 steps | 20 steps | 40 steps | fixed, in dense steps |"
    assert lines[2] == "| k = 1 | 2.33 | 2.09 | 2.05 | 4.0 |"
