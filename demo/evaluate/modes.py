"""``python -m demo.evaluate.modes``: how near Fast and Balanced come to Exact, in images and in scores."""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from crdiff import console
from crdiff.method.groups import Ratios
from crdiff.modes.balanced import Balanced
from crdiff.modes.fast import Fast
from crdiff.modes.registry import DEFAULT_MODE, MODES
from crdiff.presets.own_document import from_text
from crdiff.presets.size import Size
from crdiff.pruning.registry import DEFAULT_CRITERION
from demo.evaluate.judge import Judge
from demo.evaluate.model import DENSE, DemoModel, Drawing
from demo.prepare import CHECKPOINT, PRESETS
from demo.scenes.scene import Scene, search_scenes

Images = Sequence[NDArray[np.uint8]]

UNIFORM = Ratios(0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Nearness:
    """One mode in one setting.

    Attributes:
        size: height x width.
        ratios: the pruning ratios.
        k: amplification.
        sampler: k-diffusion's name of it.
        steps: of the sampler.
        mode: the mode, with the calls from one exact one to the next.
        distance: to Exact's images, as a share of the dense model's distance to them (root mean square).
        score: mean probability of the caption.
        exact_score: Exact's.
        dense_score: the dense model's.
    """

    size: str
    ratios: str
    k: float
    sampler: str
    steps: int
    mode: str
    distance: float
    score: float
    exact_score: float
    dense_score: float

    def __str__(self) -> str:
        where = f"{self.size} {self.ratios} k {self.k:g} {self.sampler} {self.steps}"
        scores = f"score {self.score:.3f}, exact {self.exact_score:.3f}, dense {self.dense_score:.3f}"
        return f"{where}: {self.mode} {self.distance:.3f}; {scores}"


def distance(one: Images, other: Images) -> float:
    """Root mean square over all images, in grey levels."""
    return float(np.sqrt(np.mean((np.stack(one).astype(float) - np.stack(other)) ** 2)))


def balanced_every(refresh: int) -> str:
    """Balanced at another refresh, as a mode of its own."""
    name = f"{Balanced.name} {refresh}"
    MODES[name] = type(name, (Balanced,), {"refresh": refresh})
    return name


def compare_modes(
    model: DemoModel, judge: Judge, scenes: Sequence[Scene], size: Size, ratios: Ratios, k: float, drawing: Drawing,
    refreshes: Sequence[int],
) -> list[Nearness]:  # fmt: skip
    """Fast, and Balanced at each of ``refreshes``, against Exact, with the same prompts and noises."""
    prompts, noises = [scene.caption() for scene in scenes], range(1, len(scenes) + 1)

    def draw(mode: str, k: float, ratios: Ratios = ratios) -> Images:
        return model.draw(prompts, noises, (size.height, size.width), ratios, k, replace(drawing, mode=mode))

    def score(images: Images) -> float:
        return float(judge.verdict(list(images), scenes).scores.mean())

    dense, exact = draw(DEFAULT_MODE, 0.0, DENSE), draw(DEFAULT_MODE, k)
    unit, scores = distance(dense, exact), (score(exact), score(dense))
    found = []
    for name in (Fast.name, *map(balanced_every, refreshes)):
        drawn = draw(name, k)
        where = (str(size), str(ratios), k, drawing.sampler, drawing.steps)
        found.append(Nearness(*where, name, distance(drawn, exact) / unit, score(drawn), *scores))
        print(found[-1], flush=True)
    return found


def main() -> None:
    """All combinations, one line each; then the mean over all of them for each mode."""
    console.allow_any_text()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", default=["96x128", "112x112", "128x144"])
    parser.add_argument("--k", nargs="+", type=float, default=[1.25, 1.5, 2.0])
    parser.add_argument("--samplers", nargs="+", default=["dpmpp_2m", "euler"])
    parser.add_argument("--steps", nargs="+", type=int, default=[12, 24])
    parser.add_argument("--refreshes", nargs="+", type=int, default=[4, 8])
    parser.add_argument("--prompts", type=int, default=12)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="file for all figures")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model, judge, scenes = DemoModel(CHECKPOINT), Judge(), search_scenes(options.prompts)
    known = from_text(PRESETS.read_text("utf-8"))
    presets = {preset.size: preset.ratios for preset in known if preset.criterion == DEFAULT_CRITERION}
    found: list[Nearness] = []
    for text, k, sampler, steps in itertools.product(options.sizes, options.k, options.samplers, options.steps):
        size = Size.parse(text)
        drawing = Drawing(steps=steps, sampler=sampler, batch=options.prompts)
        for ratios in dict.fromkeys((presets.get(size, UNIFORM), UNIFORM)):
            found += compare_modes(model, judge, scenes, size, ratios, k, drawing, options.refreshes)
    for mode in dict.fromkeys(one.mode for one in found):
        of_mode = [one for one in found if one.mode == mode]
        distances = [one.distance for one in of_mode]
        changes = [one.score - one.exact_score for one in of_mode]
        print(
            f"{mode}: distance {np.mean(distances):.3f} ({min(distances):.3f}-{max(distances):.3f}), "
            f"score beyond exact {np.mean(changes):+.3f} ({min(changes):+.3f} to {max(changes):+.3f})"
        )
    if options.json:
        options.json.write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
