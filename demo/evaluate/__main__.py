"""``python -m demo.evaluate``: dense, pruned and CR-Diff at each size of the presets, judged by the scene scorer.

CR-Diff is the method of the paper, with the presets for magnitude; presets for other criteria are drawn beside it.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from crdiff import console
from crdiff.presets.own_document import from_text
from crdiff.presets.size import Size
from crdiff.presets.table import Preset
from crdiff.pruning.registry import DEFAULT_CRITERION
from crdiff.specs import DEFAULT_K
from demo.evaluate.compare import Sample, best_of, compare, compare_others
from demo.evaluate.grid import save_grid
from demo.evaluate.judge import Judge
from demo.evaluate.model import DENSE, DemoModel, Drawing
from demo.evaluate.table import summary, tables
from demo.prepare import CHECKPOINT, PRESETS
from demo.scenes.scene import NATIVE, judging_scenes


def main() -> None:
    """Prints the tables; keeps all figures as JSON and draws the grid of images, if asked to."""
    console.allow_any_text()
    options = _options()
    torch.set_num_threads(options.threads)
    model, judge = DemoModel(options.checkpoint, options.device), Judge(device=options.device)
    drawing = Drawing(steps=options.steps, batch=options.batch)
    known = [preset for preset in from_text(options.presets.read_text("utf-8")) if model.sha256 in preset.checkpoints]
    presets = [preset for preset in known if preset.criterion == DEFAULT_CRITERION]
    if options.sizes:
        presets = [_preset(presets, Size.parse(text)) for text in options.sizes]
    sample = Sample(tuple(judging_scenes(options.prompts)), tuple(range(1, options.seeds + 1)))
    kept = [one for file in [*options.merge, options.json] if file and file.is_file() for one in _read(file)]
    native = None
    found: list[dict[str, Any]] = []
    for preset in presets:
        k = options.k if preset.k is None else preset.k
        others = [one for one in known if one.size == preset.size and one.criterion != DEFAULT_CRITERION]
        about = {
            "size": str(preset.size), "ratios": list(preset.ratios), "k": k, "checkpoint": model.sha256,
            "steps": drawing.steps, "guidance": drawing.guidance, "prompts": options.prompts, "seeds": options.seeds,
        }  # fmt: skip
        told = {one.criterion: {"ratios": list(one.ratios), "k": one.k} for one in others}
        figures = next((one for one in kept if about.items() <= one.items()), None)
        if figures is None:
            native = native or sample.draw(model, Size(NATIVE, NATIVE), DENSE, 0.0, drawing)
            comparison = compare(model, judge, preset, k, sample, native, drawing, others)
            if options.best_of and preset.size != Size(NATIVE, NATIVE):
                scenes = sample.scenes[: options.best_of_prompts]
                comparison.best_of = best_of(model, judge, scenes, preset.size, options.best_of, drawing)
            print(comparison.to_text(), flush=True)
            figures = {**about, "others": told, **comparison.to_dict()}
        if told != figures["others"]:
            new = [one for one in others if told[one.criterion] != figures["others"].get(one.criterion)]
            comparison = compare_others(model, judge, preset, k, sample, drawing, new)
            print(comparison.to_text(), flush=True)
            ways = {**figures["ways"], **comparison.to_dict()["ways"], "dense": figures["ways"]["dense"]}
            gone = figures["others"].keys() - told.keys()
            ways = {way: one for way, one in ways.items() if way not in gone}
            figures = {**figures, "others": told, "ways": ways}
        found.append(figures)
        if options.json:
            options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print("\n".join([*summary(found), "", *tables(found)]))
    if options.grid:
        sizes = [preset.size for preset in presets]
        shown = [replace(one, k=options.k if one.k is None else one.k) for one in known if one.size in sizes]
        save_grid(model, judge, sizes, shown, sample.scenes, drawing, options.grid)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", help="HEIGHTxWIDTH; by default every size with a preset")
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=Drawing.steps)
    parser.add_argument("--k", type=float, default=DEFAULT_K, help="where a preset has none of its own")
    parser.add_argument("--best-of", type=int, default=0, metavar="N", help="also the best of N dense images")
    parser.add_argument("--best-of-prompts", type=int, default=40, help="for N prompts")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--presets", type=Path, default=PRESETS)
    parser.add_argument("--device", default="cpu", help="that draws and judges, such as cuda")
    parser.add_argument("--batch", type=int, default=Drawing.batch, help="images at a time")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="file for all figures; what it holds is not drawn again")
    parser.add_argument("--merge", type=Path, nargs="*", default=[], help="files of other runs, for other sizes")
    parser.add_argument("--grid", type=Path, help="PNG of the first prompts at every size")
    return parser.parse_args()


def _preset(presets: list[Preset], size: Size) -> Preset:
    for preset in presets:
        if preset.size == size:
            return preset
    raise SystemExit(f"There is no preset for {size} and this checkpoint.")


def _read(file: Path) -> list[dict[str, Any]]:
    figures: list[dict[str, Any]] = json.loads(file.read_text("utf-8"))
    return figures


if __name__ == "__main__":
    main()
