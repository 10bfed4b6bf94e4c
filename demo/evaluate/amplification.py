"""The choice of k for ratios that were found at k = 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crdiff.method.groups import Ratios
from crdiff.presets.size import Size
from crdiff.search.errors import AbortSearchError
from crdiff.search.journal import Journal
from crdiff.search.objective import Objective
from crdiff.search.search import Budget, Search
from crdiff.search.strategies.point import AXES, DENSE, Point
from crdiff.search.strategies.random_search import RandomSearch
from crdiff.search.strategies.space import Space
from demo.evaluate.judge import Interval, Judge, gain_interval
from demo.evaluate.model import DemoModel, Drawing
from demo.evaluate.objective import scores_at


@dataclass(frozen=True)
class Amplification:
    """One k, and what it came to.

    Attributes:
        k: the amplification.
        score: mean over all images.
        gain: of the score over the dense model's, image by image.
    """

    k: float
    score: float
    gain: Interval


def try_amplifications(
    model: DemoModel, judge: Judge, size: Size, ratios: Ratios, amplifications: Sequence[float],
    prompts: Sequence[str], seeds: Sequence[int], drawing: Drawing, work: Path,
) -> list[Amplification]:  # fmt: skip
    """Draws all prompts with all seeds at each k, the best k first; scores are kept in journals in ``work``.

    Raises:
        AbortSearchError: the images could not be drawn or judged.
    """
    many = scores_at(model, judge, size, drawing)
    objective = Objective(tuple(prompts), tuple(seeds), evaluate_many=many, batch=drawing.batch, racing="off")
    identity = {"checkpoint": model.sha256, "size": str(size), "steps": drawing.steps, "guidance": drawing.guidance}

    def scores(point: Point) -> np.ndarray:
        name = "-".join([str(size), *(f"{point[axis]:g}" for axis in AXES), model.sha256[:8]])
        # With one evaluation a random search tries its starting point and nothing else.
        search = RandomSearch(Space(fixed=point), (point,))
        report = Search(search.space, search, objective, Journal(work / f"k-{name}.jsonl", identity)).run(Budget(1))
        if report.state != "done" or report.best is None:
            raise AbortSearchError(f"{size}: {report.message}")
        return np.array(report.best.scores, dtype=float).reshape(-1, len(prompts)).mean(axis=0)

    dense = scores(DENSE)
    found = {k: scores(Point(*ratios, k)) for k in amplifications}
    tried = [Amplification(k, float(ours.mean()), gain_interval(ours, dense)) for k, ours in found.items()]
    return sorted(tried, key=lambda one: -one.score)
