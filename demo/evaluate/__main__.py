"""``python -m demo.evaluate``: dense, pruned and CR-Diff at each size of the presets, judged by the scene scorer."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from crdiff.presets.size import Size
from crdiff.presets.store import from_text
from crdiff.presets.table import Preset
from demo.evaluate.compare import Comparison, compare, draw_native
from demo.evaluate.grid import save_grid
from demo.evaluate.judge import Judge
from demo.evaluate.model import DemoModel, Drawing
from demo.prepare import CHECKPOINT, PRESETS
from demo.scenes.scene import judging_scenes


def main() -> None:
    """Prints the table, and writes it with all figures as JSON and, if asked for, the grid of pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", help="HEIGHTxWIDTH; by default every size with a preset")
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=Drawing.steps)
    parser.add_argument("--k", type=float, default=1.5)
    parser.add_argument("--best-of", type=int, default=0, metavar="N", help="also the best of N dense pictures")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--presets", type=Path, default=PRESETS)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="file for all figures")
    parser.add_argument("--grid", type=Path, help="PNG of the first prompts in every way")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model, judge, drawing = DemoModel(options.checkpoint), Judge(), Drawing(steps=options.steps)
    presets = [preset for preset in from_text(options.presets.read_text("utf-8")) if model.sha256 in preset.checkpoints]
    wanted = [Size.parse(text) for text in options.sizes] or [preset.size for preset in presets]
    scenes, seeds = judging_scenes(options.prompts), range(1, options.seeds + 1)
    native = draw_native(model, scenes, seeds, drawing)
    found: list[Comparison] = []
    for size in wanted:
        comparison = compare(
            model, judge, _preset(presets, size), scenes, seeds, drawing, native, options.k, options.best_of
        )
        found.append(comparison)
        print(comparison.to_text(), flush=True)
        if options.json:
            options.json.write_text(json.dumps([one.to_dict() for one in found], indent=1) + "\n", encoding="utf-8")
    print("\n".join(Comparison.table(found)))
    if options.grid:
        save_grid(found, options.grid)


def _preset(presets: list[Preset], size: Size) -> Preset:
    for preset in presets:
        if preset.size == size:
            return preset
    raise SystemExit(f"There is no preset for {size} and this checkpoint.")


if __name__ == "__main__":
    main()
