"""The choice of k for ratios that were found at k = 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crdiff.presets.size import Size
from crdiff.pruning.ratios import Ratios
from crdiff.search.errors import AbortSearchError
from crdiff.search.journal import Journal
from crdiff.search.objective import Objective
from crdiff.search.random_search import RandomSearch
from crdiff.search.search import Budget, Evaluation, Search
from crdiff.search.space import DENSE, Point, Space
from demo.evaluate.judge import Interval, Judge, gain_interval
from demo.evaluate.model import DemoModel, Drawing
from demo.evaluate.picturing import scores_at


@dataclass(frozen=True)
class Amplification:
    """One k, and what it came to.

    Attributes:
        k: the amplification.
        score: mean over all pictures.
        gain: of the score over the dense model's, picture by picture.
    """

    k: float
    score: float
    gain: Interval


def try_amplifications(
    model: DemoModel, judge: Judge, size: Size, ratios: Ratios, amplifications: Sequence[float],
    prompts: Sequence[str], seeds: Sequence[int], drawing: Drawing, work: Path,
) -> list[Amplification]:  # fmt: skip
    """Draws all prompts with all seeds at each k, the best k first; scores are kept in a journal in ``work``.

    Raises:
        AbortSearchError: the pictures could not be drawn or judged.
    """
    many = scores_at(model, judge, size, drawing)
    objective = Objective(tuple(prompts), tuple(seeds), evaluate_many=many, batch=drawing.batch, racing="off")
    points = tuple(Point(*ratios, k) for k in amplifications)
    space = Space.vary(["k"], fixed=points[0])
    identity = {"checkpoint": model.sha256, "size": str(size), "steps": drawing.steps, "guidance": drawing.guidance}
    name = f"k-{size}-{'-'.join(f'{ratio:g}' for ratio in ratios)}-{model.sha256[:8]}.jsonl"
    # With as many evaluations as starting points, a random search tries these and nothing else.
    search = Search(space, RandomSearch(space, points), objective, Journal(work / name, identity), baseline=DENSE)
    report = search.run(Budget(evaluations=len(points) + 1))
    if report.state != "done" or report.baseline is None:
        raise AbortSearchError(f"{size}: {report.message}")
    dense = _by_prompt(report.baseline, len(prompts))
    found = [
        Amplification(entry.point.k, entry.score, gain_interval(_by_prompt(entry, len(prompts)), dense))
        for entry in report.history
        if entry.kind != "baseline" and entry.score is not None
    ]
    return sorted(found, key=lambda one: -one.score)


def _by_prompt(entry: Evaluation, prompts: int) -> np.ndarray:
    return np.array(entry.scores, dtype=float).reshape(-1, prompts).mean(axis=0)
