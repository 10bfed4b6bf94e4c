"""``python -m demo.evaluate.strategies``: the best score against the evaluations spent, for each strategy; racing.

Images are drawn and judged by the demo's WebUI, through its API, as for ``python -m crdiff search``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crdiff import console
from crdiff.presets.size import Size
from crdiff.search.errors import AbortSearchError
from crdiff.search.journal import Journal
from crdiff.search.objective import Objective
from crdiff.search.remote import WebUI
from crdiff.search.report import Report
from crdiff.search.search import Budget, Search
from crdiff.search.strategies.annealing import Schedule, SimulatedAnnealing
from crdiff.search.strategies.cmaes import CmaEs
from crdiff.search.strategies.point import START, Point
from crdiff.search.strategies.random_search import RandomSearch
from crdiff.search.strategies.space import Space
from crdiff.search.strategies.strategy import Strategy
from demo.evaluate.by_api import Studio, webui_at
from demo.evaluate.find_presets import TEMPERATURE
from demo.evaluate.model import Drawing
from demo.evaluate.objective import Known
from demo.evaluate.plot import save_plot
from demo.prepare import CHECKPOINT
from demo.scenes.scene import search_scenes

K = 1.0
START_AT = Point(0.3, 0.3, 0.3, K)
"""Where the authors' search starts."""

SEEDS = tuple(Point(ratio, ratio, ratio, K) for ratio in (0.1, 0.3, 0.5))
"""Candidate seeds of an annealing that looks around first."""

DENSE = Point(0.0, 0.0, 0.0, K)


STRATEGIES = ("annealing", "annealing from 3", "random", "cmaes")
RACING = ("exact", "likely")


def strategy(name: str, space: Space, seed: int, evaluations: int) -> Strategy:
    """A strategy; all but the annealing from three candidate seeds start at the same point."""
    starts = SEEDS if name == "annealing from 3" else (START_AT,)
    if name.startswith("annealing"):
        return SimulatedAnnealing(space, starts, seed, Schedule(iterations=evaluations, temperature=TEMPERATURE))
    return RandomSearch(space, starts, seed) if name == "random" else CmaEs(space, starts, seed)


def best_so_far(report: Report) -> list[float]:
    """The best mean score after each evaluation, the dense model's and repeats not counted; a cut one changes none."""
    best, curve = 0.0, []
    for entry in report.history:
        if entry.kind != "baseline" and not entry.repeat:
            best = max(best, entry.score or 0.0)
            curve.append(best)
    return curve


class Trials:
    """Searches at one size, by strategy, seed and racing, each with a journal in the work folder."""

    def __init__(self, options: argparse.Namespace, webui: WebUI) -> None:
        self._options, self._size = options, Size.parse(options.size)
        self._drawing = Drawing(steps=options.steps)
        studio = Studio(webui, self._size, self._drawing.steps, self._drawing.guidance)
        self._sha256 = studio.checkpoint.sha256
        self._known = Known(studio.many)
        self._prompts = tuple(scene.caption() for scene in search_scenes(options.prompts))

    def run(self, name: str, seed: int, racing: str) -> Report:
        """One search to the end of its budget.

        Raises:
            AbortSearchError: it did not get there.
        """
        options, space = self._options, Space(fixed=START.moved("k", K))
        batch = len(self._prompts) if racing == "off" else options.batch
        objective = Objective(
            self._prompts, (1,), evaluate_many=self._known.evaluate, batch=batch, highest=1.0, racing=racing
        )
        identity = {"checkpoint": self._sha256, "size": str(self._size), "steps": self._drawing.steps}
        journal = Journal(options.work / f"{self._size}-{name.replace(' ', '-')}-{seed}-{racing}.jsonl", identity)
        chosen = strategy(name, space, seed, options.evaluations)
        # The dense model is measured besides.
        report = Search(space, chosen, objective, journal, DENSE).run(Budget(evaluations=options.evaluations + 1))
        if report.state != "done":
            raise AbortSearchError(report.message)
        print(f"{name}, seed {seed}, racing {racing}: best {_best(report):.3f}, {report.images} images, "
              f"{report.saved_by_racing} saved", flush=True)  # fmt: skip
        return report


def _best(report: Report) -> float:
    return best_so_far(report)[-1]


def main() -> None:
    """Runs all searches, draws the curves and prints what racing saves; what journals hold is not drawn again."""
    console.allow_any_text()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="80x128", help="HEIGHTxWIDTH")
    parser.add_argument("--prompts", type=int, default=12)
    parser.add_argument("--evaluations", type=int, default=24)
    parser.add_argument("--seeds", type=int, default=5, help="of the strategies")
    parser.add_argument("--batch", type=int, default=4, help="images between two looks whether to go on")
    parser.add_argument("--steps", type=int, default=Drawing.steps)
    parser.add_argument("--url", help="of a running demo (default: one is started)")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT, help="of the demo that is started")
    parser.add_argument("--work", type=Path, default=Path(".cache/demo/strategies"))
    parser.add_argument("--json", type=Path, help="file for all figures")
    parser.add_argument("--plot", type=Path, help="SVG of the best score against evaluations")
    options = parser.parse_args()
    with webui_at(options.url, options.checkpoint) as webui:
        trials, seeds = Trials(options, webui), range(options.seeds)
        reports = {name: [trials.run(name, seed, "off") for seed in seeds] for name in STRATEGIES}
        raced = {mode: [trials.run("annealing", seed, mode) for seed in seeds] for mode in RACING}
    curves: dict[str, NDArray[np.float64]] = {}
    for name, runs in reports.items():
        curves[name] = np.array([_padded(best_so_far(report), options.evaluations) for report in runs])
        print(f"{name}: best of {options.evaluations} evaluations {curves[name][:, -1].mean():.3f} on average, "
              f"{curves[name][:, -1].min():.3f} to {curves[name][:, -1].max():.3f}", flush=True)  # fmt: skip
    dense = reports["annealing"][0].baseline
    if dense is None or dense.score is None:
        raise AbortSearchError("The dense model could not be scored.")
    savings = {mode: _saving(reports["annealing"], runs) for mode, runs in raced.items()}
    for mode, saving in savings.items():
        print(f"racing {mode}: {json.dumps(saving)}")
    if options.json:
        kept = {"size": options.size, "prompts": options.prompts, "dense": dense.score, "racing": savings,
                "curves": {name: curve.round(4).tolist() for name, curve in curves.items()}}  # fmt: skip
        options.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    if options.plot:
        save_plot(curves, dense.score, f"{options.size}, {options.prompts} prompts", options.plot)


def _padded(curve: list[float], length: int) -> list[float]:
    """A strategy that ended before its budget keeps its best."""
    return curve + [curve[-1]] * (length - len(curve))


def _saving(full: Sequence[Report], raced: Sequence[Report]) -> dict[str, Any]:
    """Images drawn with and without racing, and whether every search found the same."""
    return {
        "images": sum(report.images for report in raced),
        "images_without": sum(report.images for report in full),
        "same_walk": [_walk(one) == _walk(other) for one, other in zip(full, raced)],
        "best": [round(_best(report), 4) for report in raced],
        "best_without": [round(_best(report), 4) for report in full],
    }


def _walk(report: Report) -> list[tuple[Point, bool]]:
    return [(entry.point, entry.accepted) for entry in report.history]


if __name__ == "__main__":
    main()
