"""The commands that compare criteria on the demo model: what they measure, keep, tell and draw."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from crdiff.bench.operations import OperationCounter
from crdiff.method.groups import Ratios
from crdiff.models.architecture import find_layers
from crdiff.models.family import OTHER
from crdiff.presets.own_document import from_text, to_text
from crdiff.presets.size import Size
from crdiff.presets.table import Preset
from demo.evaluate import criteria, criteria_cost, criteria_presets, criteria_report
from demo.evaluate.cells import Cell, Measured, Protocol
from demo.evaluate.judge import Judge
from demo.evaluate.model import DENSE, DemoModel, Drawing
from demo.evaluate.objective import noise_seed
from demo.prepare import CHECKPOINT
from demo.scenes.scene import judging_scenes


def test_criteria_are_judged_by_what_they_make_of_the_model_and_not_measured_twice(tmp_path, monkeypatch, capsys):
    figures, ratio = tmp_path / "figures.json", 0.4
    monkeypatch.setattr(criteria, "STARTS", (ratio,))  # what a search of one evaluation finds
    command = ["criteria", "--sizes", "96x128", "--criteria", "magnitude", "attenuation", "--varied", "k = 1"]
    command += ["--evaluations", "1", "--search-prompts", "1", "--prompts", "2", "--seeds", "1", "--steps", "6"]
    command += ["--checkpoint", str(CHECKPOINT), "--work", str(tmp_path / "work"), "--json", str(figures)]
    monkeypatch.setattr(sys, "argv", command)
    criteria.main()
    printed = capsys.readouterr().out
    cells = {cell["criterion"]: cell for cell in json.loads(figures.read_text("utf-8"))["cells"]}
    assert set(cells) == {"dense", "magnitude", "attenuation"}
    weakened, scenes = DemoModel(CHECKPOINT), judging_scenes(2)
    for name, weight in weakened.unet.named_parameters():
        if name.endswith("weight") and (".attn1.to_" in name or ".ff.net.0.proj" in name or ".ff.net.2" in name):
            weight.data *= 1.0 - ratio
    captions = [scene.caption() for scene in scenes]
    seeds = [noise_seed(caption, 1) for caption in captions]
    images = weakened.draw(captions, seeds, (96, 128), DENSE, 0.0, Drawing(steps=6))
    expected = Judge().verdict(images, scenes)
    assert cells["attenuation"]["ratios"] == [ratio] * 3 and cells["attenuation"]["passes"] == 1.0
    assert cells["attenuation"]["scores"] == pytest.approx(1000 * expected.scores, abs=2)
    assert max(map(abs, np.subtract(cells["attenuation"]["scores"], cells["dense"]["scores"]))) > 10
    assert cells["attenuation"]["right"] == "".join("01"[int(one)] for one in expected.right)

    monkeypatch.setattr(DemoModel, "draw", lambda *_: pytest.fail("drawn again"))
    criteria.main()
    table = [line for line in printed.splitlines() if line.startswith("|")][-5:]
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")] == table
    assert [line.split(" | ")[1] for line in table[2:]] == ["dense", "magnitude", "attenuation"]

    own = tmp_path / "presets.json"
    old = Preset.own("old", OTHER, Size(96, 128), Ratios(0.5, 0.4, 0.3), 1.0, DemoModel(CHECKPOINT).sha256)
    own.write_text(to_text([old, replace(old, name="older", criterion="attenuation")]), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["criteria_presets", str(figures), "--presets", str(own), "--out", str(own)])
    criteria_presets.main()
    kept, made = from_text(own.read_text("utf-8"))
    assert kept == old and made.ratios == Ratios(ratio, ratio, ratio) and made.checkpoints == old.checkpoints
    assert (made.criterion, made.size, made.k, made.limited) == ("attenuation", Size(96, 128), 1.0, True)

    radar, cost, merged = tmp_path / "radar.svg", tmp_path / "cost.svg", tmp_path / "merged.json"
    others = [tmp_path / f"{size}.json" for size in ("80x128", "112x112")]
    for path in others:
        text = figures.read_text("utf-8").replace('"96x128"', f'"{path.stem}"')
        path.write_text(text.replace('"k = 1"', '"k varied"'), encoding="utf-8")
    varied = tmp_path / "varied.json"
    varied.write_text(figures.read_text("utf-8").replace('"k = 1"', '"k varied"'), encoding="utf-8")
    command = ["criteria_report", *map(str, [figures, *others, varied])]
    monkeypatch.setattr(sys, "argv", [*command, "--radar", str(radar), "--cost", str(cost), "--json", str(merged)])
    criteria_report.main()
    kept = json.loads(merged.read_text("utf-8"))["cells"]
    assert sorted(cell["size"] for cell in kept) == ["112x112"] * 3 + ["80x128"] * 3 + ["96x128"] * 5
    rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    right = {row[0]: float(row[-1].split(" (")[0]) for row in rows[2:5]}  # of the first table, that of k = 1
    assert right == {name: 100 * np.mean([int(one) for one in cell["right"]]) for name, cell in cells.items()}
    # A circle for each cell, hollow at k = 1, and the legend's discs.
    marks = ElementTree.fromstring(cost.read_text("utf-8")).iter("{http://www.w3.org/2000/svg}circle")
    assert sorted(mark.get("fill") == "white" for mark in marks) == [False] * 8 + [True] * 2
    # The rings, and of each of two criteria its outline and magnitude's.
    outlines = list(ElementTree.fromstring(radar.read_text("utf-8")).iter("{http://www.w3.org/2000/svg}polygon"))
    assert [one.get("stroke-dasharray") for one in outlines].count("4 3") == 2
    assert all(len(one.get("points").split()) == 3 for one in outlines)


def test_what_layerdrop_saves_is_what_its_blocks_compute(checkpoint, monkeypatch):
    model, quick, size = DemoModel(checkpoint), Drawing(steps=2), Size(64, 64)
    model.calibrate(["a red house"], [1], (64, 64), quick, hessians=(), differentiated=False)
    ratios = Ratios(0.0, 0.0, 0.99)  # all but one
    found = criteria_cost.saved(model, size, replace(quick, criterion="layerdrop"), ratios)
    assert criteria_cost.saved(model, size, replace(quick, criterion="attenuation"), ratios) == 0.0
    call = torch.randn(2, 4, 8, 8), torch.zeros(2), model.text(["a red house", ""])

    def operations(skipped):
        with monkeypatch.context() as patched, OperationCounter() as counter:
            for block in skipped:
                patched.setattr(model.unet.get_submodule(block), "forward", lambda x, *_, **__: x)
            model.unet(*call)
        return counter.total

    blocks = {layer.block for layer in find_layers(model.unet).prunable if layer.group == "up"}
    saved = [1.0 - operations(blocks - {block}) / operations(()) for block in blocks]
    assert found > 0.0 and any(found == pytest.approx(one, rel=1e-9) for one in saved)


@pytest.mark.full
def test_what_criteria_cost_is_kept_and_told(checkpoint, tmp_path, monkeypatch, capsys):
    figures, kept = tmp_path / "figures.json", tmp_path / "costs.json"
    cells = [Cell("96x128", name, "", "k = 1", (0.0, 0.0, 0.5), 1.0, 1.0, "1", (9,)) for name in ("attenuation", "ria")]
    Measured(Protocol("", 1, 1, 1, 1, 1, 1), {cell.key: cell for cell in cells}).write(figures)
    command = ["criteria_cost", str(figures), "--checkpoint", str(checkpoint), "--json", str(kept)]
    monkeypatch.setattr(sys, "argv", [*command, "--images", "1", "--steps", "2", "--rounds", "1"])
    criteria_cost.main()
    costs = {cost["name"]: cost for cost in json.loads(kept.read_text("utf-8"))}
    assert set(costs) == {"attenuation", "a calibration", "ria"}
    assert costs["attenuation"]["operations"] == 1.0 and costs["attenuation"]["bytes"] < 10_000
    assert "| ria | 1.00 | " in capsys.readouterr().out


def test_the_dense_model_has_a_row_of_its_own_where_something_else_is_done_to_it():
    found = {"": "1100", "attention scaled": "1111"}
    dense = [
        Cell("80x128", "dense", "", varied, (0.0, 0.0, 0.0), 0.0, 1.0, right, ()) for varied, right in found.items()
    ]
    pruned = Cell("80x128", "magnitude", "", "attention scaled", (0.1, 0.1, 0.1), 1.5, 2.0, "1110", ())
    measured = Measured(Protocol("", 1, 1, 1, 4, 1, 1), {cell.key: cell for cell in (*dense, pruned)})
    _, _, *rows = criteria_report.overview(measured, "attention scaled")
    shown = [row.strip("| ").split(" | ") for row in rows]
    assert [row[0] for row in shown] == ["dense", "dense, attention scaled", "magnitude"]
    assert [row[2].split(" (")[0] for row in shown] == ["50.0", "100.0", "75.0"]
    assert "+50.0 ±" in shown[1][2] and "+25.0 ±" in shown[2][2]
