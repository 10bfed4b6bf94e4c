"""``evaluate --paper`` from the command to the report: real pipelines of diffusers, and a CLIP with random weights."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from small_pipeline import small_clip, small_pipeline, small_xl_pipeline

from crdiff.__main__ import main
from crdiff.evaluation import diffusers_engine
from crdiff.presets.library import PresetLibrary
from crdiff.presets.size import Size

PIPELINES = {
    "sd15": small_pipeline,
    "sd21": lambda folder: small_pipeline(folder, width=1024),
    "sdxl": small_xl_pipeline,
}
SMALL = ("400x560", "480x360")
BOTH, AMPLIFIED = ("dense", "crdiff"), ("pruned", "crdiff")
UNIFORM = tuple(f"crdiff:ratios={ratio}/{ratio}/{ratio}:k=1" for ratio in (0.1, 0.2, 0.3, 0.4))

# Of the paper, by hand: sizes, ways, and a way's CLIP score at the last of the sizes.
COMPARED = {
    ("sd15", "table1"): ((*SMALL, "768x768"), BOTH, ("crdiff", 0.315)),
    ("sd15", "table2"): (("512x512",), BOTH, ("dense", 0.315)),
    ("sd15", "table4"): (("512x512", *SMALL), AMPLIFIED, ("pruned", 0.305)),
    ("sd15", "table7"): (("512x512", *SMALL, "768x768"), AMPLIFIED, ("pruned", 0.314)),
    ("sd21", "table1"): ((*SMALL, "768x768"), BOTH, ("dense", 0.317)),
    ("sd21", "table2"): (("512x512",), BOTH, ("crdiff", 0.309)),
    ("sdxl", "table1"): (("512x512", *SMALL), BOTH, ("dense", 0.225)),
    ("sdxl", "table2"): (("1024x1024",), BOTH, ("dense", 0.322)),
    ("sdxl", "table4"): (("512x512", *SMALL), AMPLIFIED, ("pruned", 0.301)),
    ("sdxl", "table5"): (("512x512",), tuple(f"crdiff:k={k}" for k in ("1.5", "2", "2.5")), ("crdiff:k=2", 0.305)),
    ("sdxl", "table7"): (("1024x1024", "512x512", *SMALL, "1536x1536"), AMPLIFIED, ("pruned", 0.312)),
    ("sdxl", "table8"): (("1536x1536",), BOTH, ("dense", 0.315)),
    ("sdxl", "fig2"): (("512x512",), ("dense", *UNIFORM), ("dense", 0.295)),
}
QUICK = {("sd15", "table2"), ("sdxl", "table5")}
CASES = [pytest.param(*case, marks=() if case in QUICK else pytest.mark.full) for case in COMPARED]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of pipelines as diffusers saves them, made when they are asked for, and of the metric's weights."""
    found = tmp_path_factory.mktemp("models")
    small_clip(found / "weights" / "clip-vit-base-patch16")
    (found / "prompts.txt").write_text("a cat\n", encoding="utf-8")
    return found


@pytest.fixture
def evaluate(folder, tmp_path, one_thread):
    def run(family, paper, *more):
        model = folder / family
        if not model.exists():
            model.mkdir()
            PIPELINES[family](model).save_pretrained(model)
        given = ["--model", model, "--prompts", folder / "prompts.txt", "--weights", folder / "weights"]
        given += ["--paper", paper, "--metrics", "clip", "--steps", "1", "--device", "cpu", "--out", tmp_path / "out"]
        return main(["evaluate", *map(str, given), *more])

    return run


@pytest.mark.parametrize(("family", "paper"), CASES)
def test_what_the_paper_compares_is_drawn_and_its_figures_stand_beside(evaluate, tmp_path, capsys, family, paper):
    sizes, ways, (way, figure) = COMPARED[family, paper]
    assert evaluate(family, paper) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    compared = {size: tuple(one["way"] for one in found) for size, found in report["sizes"].items()}
    assert compared == dict.fromkeys(sizes, ways)
    for size in sizes:
        drawn = [Image.open(path) for path in (tmp_path / "out" / "images" / size).rglob("*.png")]
        assert {image.size for image in drawn} == {tuple(map(int, size.split("x")[::-1]))}
        assert len({np.asarray(image).tobytes() for image in drawn}) == len(ways)
    found = next(one for one in report["sizes"][sizes[-1]] if one["way"] == way)
    assert found["published"]["clip"] == figure
    ours = found["scores"]["clip"]["mean"]["value"]
    line = next(line for line in capsys.readouterr().out.splitlines()[::-1] if line.startswith(f"  {way}: "))
    assert f"CLIP score (ViT-B/16) {ours:.3f}" in line and f"paper {figure:.3f}" in line
    assert f"<td>{figure:.3f}</td>" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


@pytest.mark.full
def test_the_papers_other_criteria_go_by_a_calibration_that_is_made_first(evaluate, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(diffusers_engine, "_CALIBRATED_WITH", 1)
    monkeypatch.setattr(PresetLibrary, "native_size", lambda library, family: Size(128, 128))
    assert evaluate("sdxl", "fig8") == 2
    needed = "wanda and obs-diff and taylor need a calibration with whole Hessians and gradients of sdxl"
    assert f"{needed}: --calibrate makes it before anything is drawn." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert evaluate("sdxl", "fig8", "--calibrate") == 0
    told = capsys.readouterr().out
    assert (
        told.index(f"{needed}, which is made first.") < told.index("Calibration: image 1 of 1") < told.index("of 5 im")
    )
    (ways,) = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))["sizes"].values()
    assert [bool(way.get("calibration")) for way in ways] == [False, False, True, True, True]
    images = {Image.open(path).tobytes() for path in (tmp_path / "out" / "images").rglob("*.png")}
    assert len(images) == 5
    assert evaluate("sdxl", "fig8") == 0
    assert "Calibration" not in capsys.readouterr().out
