"""The demo model outside a WebUI: its images against a second implementation, and the commands that measure it."""

from __future__ import annotations

import base64
import copy
import hashlib
import io
import json
import math
import sys
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from crdiff.bench.operations import OperationCounter
from crdiff.method.groups import Ratios
from crdiff.method.schedule import Schedule
from crdiff.models.architecture import find_layers
from crdiff.models.family import OTHER
from crdiff.presets.own_document import from_text, to_text
from crdiff.presets.size import Size
from crdiff.presets.table import Preset
from demo.evaluate import __main__ as evaluate
from demo.evaluate import (
    criteria,
    criteria_cost,
    criteria_presets,
    criteria_report,
    find_presets,
    overhead,
    prompts,
    rivals,
    stages,
    strategies,
    strip,
)
from demo.evaluate.cells import Cell, Measured, Protocol
from demo.evaluate.judge import Judge
from demo.evaluate.model import DENSE, DemoModel, Drawing
from demo.evaluate.objective import noise_seed
from demo.prepare import CHECKPOINT
from demo.scenes.scene import judging_scenes, search_scenes

GROUPS = {"down": "input_blocks", "mid": "middle_block", "up": "output_blocks"}
QUICK = Drawing(steps=3, guidance=3.0, batch=2)


def pruned_copy(unet, ratios):
    """The UNet with the smallest weights of each group set to zero: kthvalue over all of the group's layers."""
    pruned = copy.deepcopy(unet)
    for group, ratio in ratios.items():
        weights = [
            weight
            for name, weight in pruned.named_parameters()
            if name.startswith(GROUPS[group]) and name.endswith("weight")
            if ".attn1.to_" in name or ".ff.net.0.proj" in name or ".ff.net.2" in name
        ]
        together = torch.cat([weight.data.abs().flatten() for weight in weights])
        threshold = together.kthvalue(int(together.numel() * ratio)).values
        for weight in weights:
            weight.data[weight.data.abs() <= threshold] = 0.0
    return pruned


def reference(model, prompt, seed, size, mix, drawing):
    """DPM++ 2M written out (Lu et al. 2022, Algorithm 2, in sigmas); ``mix`` makes v of x, t and the context."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    table = ((1 - (1 - betas).cumprod(0)) / (1 - betas).cumprod(0)).sqrt().float()
    times = torch.linspace(999, 0, drawing.steps)
    low, share = times.floor().long(), times.frac()
    log = table.log()
    sigmas = ((1 - share) * log[low] + share * log[times.ceil().long()]).exp()
    sigmas = torch.cat([sigmas, torch.zeros(1)])
    x = torch.randn((4, size[0] // 8, size[1] // 8), generator=torch.Generator().manual_seed(seed))[None] * sigmas[0]
    before = None
    for step in range(drawing.steps):
        sigma = sigmas[step]
        t = (log - sigma.log()).abs().argmin()[None]
        c_in, c_out = 1 / (sigma**2 + 1).sqrt(), -sigma / (sigma**2 + 1).sqrt()
        cond, uncond = (mix(x * c_in, t, model.text([text])) * c_out + x / (sigma**2 + 1) for text in (prompt, ""))
        denoised = uncond + drawing.guidance * (cond - uncond)
        following = sigmas[step + 1]
        if following == 0:
            x = denoised
        else:
            h = sigma.log() - following.log()
            wanted = denoised
            if before is not None:
                r = (sigmas[step - 1].log() - sigma.log()) / h
                wanted = (1 + 1 / (2 * r)) * denoised - 1 / (2 * r) * before
            x = following / sigma * x - math.expm1(-h) * wanted
        before = denoised
    return ((model.vae.decode(x)[0].permute(1, 2, 0) + 1) * 127.5).round().clamp(0, 255)


@pytest.mark.parametrize("k", [0.0, 1.0, 1.5, -1.0])
@torch.no_grad()
def test_an_image_is_the_mix_of_two_models(checkpoint, k):
    model = DemoModel(checkpoint)
    ratios = {"down": 0.3, "mid": 0.5, "up": 0.7}
    pruned = pruned_copy(model.unet, ratios)

    def mix(x, t, context):
        return k * pruned(x, t, context) + (1 - k) * model.unet(x, t, context)

    prompts = ["a red house left of a blue tree, by day", "a white fish left of a red star, at night"]
    drawn = model.draw(prompts, [3, 4], (96, 128), Ratios(**ratios), k, QUICK)
    for image, prompt, seed in zip(drawn, prompts, [3, 4]):
        expected = reference(model, prompt, seed, (96, 128), mix, QUICK).numpy()
        assert image.shape == (96, 128, 3)
        assert np.abs(image.astype(int) - expected).max() <= 1
    dense = model.draw(prompts, [3, 4], (96, 128), DENSE, k, QUICK)
    assert (np.array_equal(dense, drawn)) == (k == 0.0)


def test_the_shipped_model_draws_its_captions_at_home_and_loses_them_away():
    model, judge, scenes = DemoModel(CHECKPOINT), Judge(), judging_scenes(12)
    prompts, seeds = [scene.caption() for scene in scenes], range(12)
    home, away = (
        judge.verdict(model.draw(prompts, seeds, size, DENSE, 0.0, Drawing(steps=12, batch=12)), scenes)
        for size in ((128, 128), (96, 96))
    )
    assert home.right.sum() >= 10
    assert away.right.sum() <= 6
    assert CHECKPOINT.stat().st_size <= 15_000_000


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


def test_self_attention_is_scaled_by_what_its_tokens_are_to_those_of_training():
    model, size, prompt, seed = DemoModel(CHECKPOINT), (80, 128), search_scenes(1)[0].caption(), 7
    drawn = model.draw([prompt], [seed], size, DENSE, 0.0, replace(QUICK, scaled_attention=True))[0]
    by_layer, tokens = {}, (80 // 8) * (128 // 8)
    for name, module in model.unet.named_modules():
        if name.endswith("attn1"):
            # The UNet halves height and width from level to level, as its middle tells by its channels.
            level = {64: 4, 96: 16}[module.to_q.weight.shape[0]]
            by_layer[name] = math.sqrt(math.log(tokens / level) / math.log(256 / level))
            module.to_q.weight.data *= by_layer[name]
    assert all(0.85 < factor < 1.0 for factor in by_layer.values())
    expected = model.draw([prompt], [seed], size, DENSE, 0.0, QUICK)[0]
    assert np.abs(drawn.astype(int) - expected).max() <= 1


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
