"""The same prompts and seeds at one size, drawn in every way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crdiff.method.groups import Ratios
from crdiff.method.schedule import Schedule
from crdiff.presets.size import Size
from crdiff.presets.table import Preset
from demo.evaluate.judge import Interval, Judge, Verdict, gain_interval, mean_interval
from demo.evaluate.model import DENSE, DemoModel, Drawing
from demo.evaluate.objective import noise_seed
from demo.scenes.scene import NATIVE, Scene

WAYS = ("dense", "uniform pruning", "block-wise pruning", "CR-Diff")
"""Ways that prune by magnitude, or not at all; those of other criteria have the criterion's name."""

RESAMPLED = "native size, resampled"


@dataclass(frozen=True)
class Sample:
    """What is drawn: every scene with every seed, scene by scene.

    Attributes:
        scenes: to draw.
        seeds: of the starting noise; with the same one two scenes still have noises of their own.
    """

    scenes: tuple[Scene, ...]
    seeds: tuple[int, ...]

    @property
    def asked(self) -> list[Scene]:
        """The scene of each image."""
        return [scene for scene in self.scenes for _ in self.seeds]

    def draw(
        self, model: DemoModel, size: Size, ratios: Ratios | Schedule, k: float, drawing: Drawing
    ) -> list[NDArray[np.uint8]]:
        """All images."""
        prompts = [scene.caption() for scene in self.asked]
        noises = [noise_seed(scene.caption(), seed) for scene in self.scenes for seed in self.seeds]
        return model.draw(prompts, noises, (size.height, size.width), ratios, k, drawing)


@dataclass(frozen=True)
class BestOf:
    """The best of several dense images of each prompt, as the scorer says.

    Attributes:
        count: images of a prompt.
        prompts: how many.
        score: the best image's, on average.
        right: share of best images that are right.
    """

    count: int
    prompts: int
    score: Interval
    right: Interval

    def to_dict(self) -> dict[str, Any]:
        """All figures as plain JSON."""
        return {"n": self.count, "prompts": self.prompts, "score": vars(self.score), "right": vars(self.right)}


@dataclass
class Comparison:
    """What came out at one size.

    Attributes:
        preset: size and ratios.
        k: CR-Diff's amplification.
        sample: what was drawn.
        verdicts: of each way, image by image.
        best_of: the control, if asked for.
    """

    preset: Preset
    k: float
    sample: Sample
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    best_of: BestOf | None = None

    def gain(self, way: str, of: str = "right") -> Interval:
        """How far ``right`` or ``scores`` of a way lie above the dense model's, prompt by prompt, on average."""
        values = [getattr(self.verdicts[name], of).astype(float) for name in (way, "dense")]
        ours, dense = (one.reshape(len(self.sample.scenes), -1).mean(axis=1) for one in values)
        return gain_interval(ours, dense)

    def to_text(self) -> str:
        """A line for each way."""
        size, seeds = self.preset.size, len(self.sample.seeds)
        lines = [f"{size}, ratios {self.preset.ratios}, k {self.k:g}: captions right in %; score x 100"]
        for way, verdict in self.verdicts.items():
            right, score = f"{verdict.share_right(seeds)}", f"{verdict.mean_score(seeds)}"
            if way != "dense":
                right, score = (
                    f"{right}, gain {self.gain(way).as_gain()}",
                    f"{score}, gain {self.gain(way, 'scores').as_gain()}",
                )
            lines.append(f"  {way}: {right}; {score}")
        if self.best_of:
            lines.append(f"  best of {self.best_of.count} dense: {self.best_of.right}; {self.best_of.score}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """All figures as plain JSON."""
        seeds = len(self.sample.seeds)
        ways = {
            way: {
                "right": vars(verdict.share_right(seeds)),
                "right_gain": vars(self.gain(way)),
                "score": vars(verdict.mean_score(seeds)),
                "score_gain": vars(self.gain(way, "scores")),
            }
            for way, verdict in self.verdicts.items()
        }
        return {"ways": ways, "best_of": self.best_of.to_dict() if self.best_of else None}


def compare(
    model: DemoModel, judge: Judge, preset: Preset, k: float, sample: Sample, native: list[NDArray[np.uint8]],
    drawing: Drawing, others: Sequence[Preset] = (),
) -> Comparison:  # fmt: skip
    """Draws and judges the sample at the preset's size, in all ways.

    Args:
        model: what draws.
        judge: what scores.
        preset: size and ratios.
        k: amplification of CR-Diff.
        sample: what to draw.
        native: its dense images at the size of training.
        drawing: steps, guidance, batch.
        others: presets for other criteria at this size.
    """
    found = Comparison(preset, k, sample)
    size, at_home = preset.size, preset.size == Size(NATIVE, NATIVE)

    def add(way: str, images: list[NDArray[np.uint8]]) -> None:
        found.verdicts[way] = judge.verdict(images, sample.asked)

    mean = round(sum(preset.ratios) / 3, 3)
    add("dense", native if at_home else sample.draw(model, size, DENSE, 0.0, drawing))
    add("uniform pruning", sample.draw(model, size, Ratios(mean, mean, mean), 1.0, drawing))
    add("block-wise pruning", sample.draw(model, size, preset.ratios, 1.0, drawing))
    if k == 1.0:
        found.verdicts["CR-Diff"] = found.verdicts["block-wise pruning"]
    else:
        add("CR-Diff", sample.draw(model, size, preset.ratios, k, drawing))
    _add_others(found, model, judge, drawing, others)
    if not at_home:
        add(RESAMPLED, [_resampled(image, size) for image in native])
    return found


def compare_others(
    model: DemoModel, judge: Judge, preset: Preset, k: float, sample: Sample, drawing: Drawing, others: Sequence[Preset]
) -> Comparison:  # fmt: skip
    """The dense model and the presets for other criteria alone, where magnitude's have been drawn before."""
    found = Comparison(preset, k, sample)
    images = sample.draw(model, preset.size, DENSE, 0.0, drawing)
    found.verdicts["dense"] = judge.verdict(images, sample.asked)
    _add_others(found, model, judge, drawing, others)
    return found


def _add_others(
    found: Comparison, model: DemoModel, judge: Judge, drawing: Drawing, others: Sequence[Preset]
) -> None:  # fmt: skip
    for other in others:
        own, k = replace(drawing, criterion=other.criterion), found.k if other.k is None else other.k
        images = found.sample.draw(model, other.size, other.ratios, k, own)
        found.verdicts[other.criterion] = judge.verdict(images, found.sample.asked)


def best_of(
    model: DemoModel, judge: Judge, scenes: Sequence[Scene], size: Size, count: int, drawing: Drawing
) -> BestOf:  # fmt: skip
    """The best of ``count`` dense images of each scene, with seeds that no other way uses."""
    sample = Sample(tuple(scenes), tuple(range(1000, 1000 + count)))
    verdict = judge.verdict(sample.draw(model, size, DENSE, 0.0, drawing), sample.asked)
    scores, right = verdict.scores.reshape(-1, count), verdict.right.reshape(-1, count)
    best = scores.argmax(axis=1)[:, None]
    score, share = (
        mean_interval(np.take_along_axis(values, best, 1)[:, 0].astype(float)) for values in (scores, right)
    )
    return BestOf(count, len(scenes), score, share)


def _resampled(image: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(image).resize((size.width, size.height), Image.Resampling.LANCZOS))
