"""The same prompts and seeds at one size, drawn in every way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crdiff.presets.size import Size
from crdiff.presets.table import Preset
from crdiff.pruning.ratios import Ratios
from demo.evaluate.judge import Interval, Judge, Verdict, mean_interval
from demo.evaluate.model import DENSE, DemoModel, Drawing
from demo.scenes.scene import NATIVE, Scene

KEPT = 4
"""Pictures kept of each way, for the grid."""

WAYS = ("dense", "uniform pruning", "block-wise pruning", "CR-Diff", "native size, resampled")


@dataclass
class Comparison:
    """What came out at one size.

    Attributes:
        size: height x width.
        ratios: the preset's.
        k: CR-Diff's amplification.
        prompts: how many, each with ``seeds`` pictures.
        verdicts: of each way, prompt by prompt, seed by seed.
        pictures: the first few of each way.
        best_of: mean score of the best of N dense pictures, and N.
    """

    size: Size
    ratios: Ratios
    k: float
    prompts: int
    seeds: int
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    pictures: dict[str, list[NDArray[np.uint8]]] = field(default_factory=dict)
    best_of: tuple[int, Interval] | None = None

    def gain(self, way: str) -> Interval:
        """The share of captions right beyond the dense model's, picture by picture, with its 95 % interval."""
        right = [self.verdicts[name].right.astype(float) for name in (way, "dense")]
        return mean_interval((right[0] - right[1]).reshape(self.prompts, self.seeds).mean(axis=1))

    def to_text(self) -> str:
        """A line for each way."""
        lines = [f"{self.size}, ratios {self.ratios}, k {self.k:g}: captions right in %, score x 100"]
        for way, verdict in self.verdicts.items():
            gain = "" if way == "dense" else f", gain {self.gain(way)}"
            lines.append(f"  {way}: {verdict.share_right(self.seeds)}, {verdict.mean_score(self.seeds)}{gain}")
        if self.best_of:
            lines.append(f"  best of {self.best_of[0]} dense: score {self.best_of[1]}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """All figures as plain JSON."""
        ways = {
            way: {
                "right": vars(verdict.share_right(self.seeds)),
                "score": vars(verdict.mean_score(self.seeds)),
                "gain": vars(self.gain(way)),
            }
            for way, verdict in self.verdicts.items()
        }
        best = {"n": self.best_of[0], "score": vars(self.best_of[1])} if self.best_of else None
        return {"size": str(self.size), "ratios": list(self.ratios), "k": self.k, "prompts": self.prompts,
                "seeds": self.seeds, "ways": ways, "best_of": best}  # fmt: skip

    @staticmethod
    def table(found: Sequence[Comparison]) -> list[str]:
        """A Markdown table: share of captions right in percent, with 95 % intervals."""
        ways = [way for way in WAYS if any(way in one.verdicts for one in found)]
        lines = [f"| size (h x w) | ratios | {' | '.join(ways)} | gain of CR-Diff |", "|---" * (len(ways) + 3) + "|"]
        for one in found:
            shares = {way: str(verdict.share_right(one.seeds)) for way, verdict in one.verdicts.items()}
            cells = [shares.get(way, "") for way in ways]
            ratios = "/".join(f"{ratio:g}" for ratio in one.ratios)
            lines.append(f"| {one.size} | {ratios} | {' | '.join(cells)} | {one.gain('CR-Diff')} |")
        return lines


def draw_native(
    model: DemoModel, scenes: Sequence[Scene], seeds: Sequence[int], drawing: Drawing
) -> list[NDArray[np.uint8]]:
    """The dense pictures at the size of training, scene by scene, seed by seed."""
    pairs = [(scene.caption(), seed) for scene in scenes for seed in seeds]
    prompts, noises = [prompt for prompt, _ in pairs], [seed for _, seed in pairs]
    return model.draw(prompts, noises, (NATIVE, NATIVE), DENSE, 0.0, drawing)


def compare(
    model: DemoModel, judge: Judge, preset: Preset, scenes: Sequence[Scene], seeds: Sequence[int], drawing: Drawing,
    native: list[NDArray[np.uint8]], k: float, best_of: int = 0,
) -> Comparison:  # fmt: skip
    """Draws and judges ``scenes`` with ``seeds`` at the preset's size.

    Args:
        model: what draws.
        judge: what scores.
        preset: size and ratios.
        scenes: what to draw.
        seeds: of the starting noise, the same for every way.
        drawing: steps, guidance, batch.
        native: what ``draw_native`` gives for these scenes and seeds.
        k: amplification of CR-Diff, where the preset has none of its own.
        best_of: if not 0, so many dense pictures of each scene compete, with seeds of their own.
    """
    pairs = [(scene, seed) for scene in scenes for seed in seeds]
    asked, prompts = [scene for scene, _ in pairs], [scene.caption() for scene, _ in pairs]
    size = (preset.size.height, preset.size.width)
    k = preset.k if preset.k is not None else k
    found = Comparison(preset.size, preset.ratios, k, len(scenes), len(seeds))

    def draw(ratios: Ratios, k: float) -> list[NDArray[np.uint8]]:
        return model.draw(prompts, [seed for _, seed in pairs], size, ratios, k, drawing)

    def add(way: str, pictures: list[NDArray[np.uint8]]) -> None:
        found.verdicts[way] = judge.verdict(pictures, asked)
        found.pictures[way] = pictures[:: len(seeds)][:KEPT]

    mean = round(sum(preset.ratios) / 3, 3)
    at_home = size == (NATIVE, NATIVE)
    add("dense", native if at_home else draw(DENSE, 0.0))
    add("uniform pruning", draw(Ratios(mean, mean, mean), 1.0))
    add("block-wise pruning", draw(preset.ratios, 1.0))
    add("CR-Diff", draw(preset.ratios, k))
    if not at_home:
        add("native size, resampled", [_resampled(picture, size) for picture in native])
    if best_of:
        found.best_of = best_of, _best_of(model, judge, scenes, size, drawing, best_of)
    return found


def _best_of(
    model: DemoModel, judge: Judge, scenes: Sequence[Scene], size: tuple[int, int], drawing: Drawing, count: int
) -> Interval:  # fmt: skip
    best = []
    for scene in scenes:
        drawn = model.draw([scene.caption()] * count, range(1000, 1000 + count), size, DENSE, 0.0, drawing)
        best.append(judge.verdict(drawn, [scene] * count).scores.max())
    return mean_interval(np.array(best))


def _resampled(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(picture).resize((size[1], size[0]), Image.Resampling.LANCZOS))
