"""What a search on the demo's model asks for: the scores of images, drawn and judged in batches."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from crdiff.presets.size import Size
from crdiff.search.objective import EvaluateMany, Image
from crdiff.search.strategies.point import Point, rounded
from demo.evaluate.judge import Judge
from demo.evaluate.model import DemoModel, Drawing
from demo.scenes.scene import Scene


def noise_seed(caption: str, seed: int) -> int:
    """The seed of the starting noise: another one for each caption, or one lucky noise would pass for a good ratio."""
    return zlib.crc32(f"{caption}/{seed}".encode())


def scores_at(model: DemoModel, judge: Judge, size: Size, drawing: Drawing) -> EvaluateMany:
    """A function that gives the probabilities of captions, for a configuration, and pairs of caption and image seed."""

    def evaluate_many(point: Point, images: Sequence[Image]) -> list[float]:
        prompts, seeds = [prompt for prompt, _ in images], [noise_seed(*image) for image in images]
        drawn = model.draw(prompts, seeds, (size.height, size.width), point.schedule, point.k, drawing)
        scores: list[float] = judge.verdict(drawn, [Scene.from_caption(prompt) for prompt in prompts]).scores.tolist()
        return scores

    return evaluate_many


class Known:
    """Scores shared by all searches of a run, so that an image is drawn once."""

    def __init__(self, many: EvaluateMany) -> None:
        self._many = many
        self._scores: dict[tuple[str, str, int], float] = {}

    def evaluate(self, point: Point, images: Sequence[Image]) -> list[float]:
        """The scores of some images."""
        name = rounded(point)
        missing = [image for image in images if (name, *image) not in self._scores]
        if missing:
            found = self._many(point, missing)
            self._scores.update(((name, *image), score) for image, score in zip(missing, found))
        return [self._scores[(name, *image)] for image in images]
