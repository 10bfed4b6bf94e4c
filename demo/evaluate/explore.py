"""``python -m demo.evaluate.explore``: whether a search that draws in Fast finds what one in Exact finds."""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import numpy as np
import torch

from crdiff import console
from crdiff.method.groups import Ratios
from crdiff.modes.exact import Exact
from crdiff.modes.fast import Fast
from crdiff.presets.size import Size
from demo.evaluate.judge import Judge
from demo.evaluate.model import DemoModel, Drawing
from demo.prepare import CHECKPOINT
from demo.scenes.scene import search_scenes


def rank_correlation(one: list[float], other: list[float]) -> float:
    """Spearman's, for scores without ties."""
    ranks = [np.argsort(np.argsort(values)).astype(float) for values in (one, other)]
    return float(np.corrcoef(*ranks)[0, 1])


def main() -> None:
    """Random configurations at one size, each scored in both modes with the same prompts and noises."""
    console.allow_any_text()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("size", nargs="?", default="80x128")
    parser.add_argument("--configurations", type=int, default=24)
    parser.add_argument("--confirmed", type=int, default=3, help="best of Fast that are drawn once more in Exact")
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--k", type=float, default=1.5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model, judge, scenes = DemoModel(options.checkpoint), Judge(), search_scenes(options.prompts)
    size, prompts = Size.parse(options.size), [scene.caption() for scene in scenes]
    numbers = random.Random(0)
    found: dict[str, list[float]] = {Fast.name: [], Exact.name: []}
    for number in range(options.configurations):
        ratios = Ratios(*(round(numbers.uniform(0.1, 0.8), 3) for _ in range(3)))
        for mode, scores in found.items():
            drawing = Drawing(mode=mode, batch=options.prompts)
            noises = range(1, len(prompts) + 1)
            drawn = model.draw(prompts, noises, (size.height, size.width), ratios, options.k, drawing)
            scores.append(float(judge.verdict(drawn, scenes).scores.mean()))
        print(f"{number + 1}: {ratios} fast {found[Fast.name][-1]:.3f}, exact {found[Exact.name][-1]:.3f}", flush=True)
    fast, exact = found[Fast.name], found[Exact.name]
    best = np.argsort(fast)[::-1][: options.confirmed]
    confirmed = max(exact[place] for place in best)
    count = options.configurations
    print(
        f"{size}, k {options.k:g}: rank correlation {rank_correlation(fast, exact):.2f}; best in Exact "
        f"{max(exact):.3f}, the best {options.confirmed} of Fast confirmed in Exact {confirmed:.3f}; "
        f"{count + 2 * options.confirmed} passes a step instead of {2 * count}"
    )


if __name__ == "__main__":
    main()
