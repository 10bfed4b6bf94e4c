"""``python -m demo.evaluate.prompts``: does a search for one prompt pay, against a preset, and against other seeds?"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from crdiff.presets.size import Size
from crdiff.presets.store import from_text
from crdiff.presets.table import Preset
from crdiff.search.annealing import Schedule, SimulatedAnnealing
from crdiff.search.errors import AbortSearchError
from crdiff.search.journal import Journal
from crdiff.search.objective import Objective
from crdiff.search.search import Budget, Search
from crdiff.search.space import DENSE, Point, Space
from crdiff.settings import DEFAULT_K
from demo.evaluate.find_presets import TEMPERATURE
from demo.evaluate.judge import Judge, gain_interval, mean_interval
from demo.evaluate.model import DemoModel, Drawing
from demo.evaluate.picturing import scores_at
from demo.prepare import CHECKPOINT, PRESETS
from demo.scenes.scene import Scene, judging_scenes

SEARCH_SEEDS = (1, 2)
"""Image seeds that a search sees."""

OTHER_SEEDS = (11, 12, 13, 14)
"""Image seeds that it does not."""

DENSE_SEEDS = 1000
"""The first image seed of the dense pictures that compete."""


@dataclass(frozen=True)
class PromptScores:
    """Mean scores of one prompt's pictures.

    Attributes:
        dense: of the dense model with the seeds of the search.
        preset: of the size's preset with them.
        search: of the ratios found with them; seen by the search, hence flattering.
        dense_elsewhere: of the dense model with other seeds.
        preset_elsewhere: of the preset with other seeds.
        search_elsewhere: of the ratios found, with other seeds.
        best_picture: the best single picture that the search drew.
        best_dense: the best of as many dense pictures as the search drew.
    """

    dense: float
    preset: float
    search: float
    dense_elsewhere: float
    preset_elsewhere: float
    search_elsewhere: float
    best_picture: float
    best_dense: float


NAMES = tuple(entry.name for entry in fields(PromptScores))


def measure(
    model: DemoModel, judge: Judge, preset: Preset, scene: Scene, evaluations: int, drawing: Drawing, work: Path
) -> PromptScores:
    """Searches ratios for one scene at the preset's size, and draws what they are compared with.

    The search is annealing from the preset and the dense model, with k held at the preset's.

    Raises:
        AbortSearchError: the search did not come to its end.
    """
    caption, many = scene.caption(), scores_at(model, judge, preset.size, drawing)
    start = Point(*preset.ratios, DEFAULT_K if preset.k is None else preset.k)
    space = Space(fixed=start)
    objective = Objective((caption,), SEARCH_SEEDS, evaluate_many=many, batch=len(SEARCH_SEEDS), racing="off")
    schedule = Schedule(iterations=evaluations, temperature=TEMPERATURE)
    identity = {"checkpoint": model.sha256, "size": str(preset.size), "steps": drawing.steps}
    journal = Journal(work / f"{preset.size}-{caption.replace(' ', '-')}.jsonl", identity)
    search = Search(space, SimulatedAnnealing(space, (start, DENSE), 0, schedule), objective, journal)
    report = search.run(Budget(evaluations=evaluations))
    if report.state != "done" or report.best is None or report.best.score is None:
        raise AbortSearchError(report.message)

    def mean(point: Point, seeds: Sequence[int]) -> float:
        return float(np.mean(many(point.ratios, point.k, [(caption, seed) for seed in seeds])))

    drawn = [score for entry in report.history for score in entry.scores if score is not None]
    seeds = range(DENSE_SEEDS, DENSE_SEEDS + report.pictures)
    return PromptScores(
        dense=_score_of(report.history, DENSE),
        preset=_score_of(report.history, start),
        search=report.best.score,
        dense_elsewhere=mean(DENSE, OTHER_SEEDS),
        preset_elsewhere=mean(start, OTHER_SEEDS),
        search_elsewhere=mean(report.best.point, OTHER_SEEDS),
        best_picture=max(drawn),
        best_dense=max(many(DENSE.ratios, DENSE.k, [(caption, seed) for seed in seeds])),
    )


def measured_once(
    model: DemoModel, judge: Judge, preset: Preset, scene: Scene, evaluations: int, drawing: Drawing, work: Path
) -> PromptScores:
    """``measure``, or what an earlier run kept of it in ``work``."""
    about = [model.sha256, str(preset.size), *preset.ratios, preset.k, evaluations, drawing.steps]
    file = work / f"{preset.size}-{scene.caption().replace(' ', '-')}.json"
    if file.is_file():
        kept = json.loads(file.read_text("utf-8"))
        if kept["about"] == about:
            return PromptScores(**kept["scores"])
    scores = measure(model, judge, preset, scene, evaluations, drawing, work)
    file.write_text(json.dumps({"about": about, "scores": vars(scores)}), encoding="utf-8")
    return scores


def _score_of(history: Sequence[Any], point: Point) -> float:
    return float(next(entry.score for entry in history if entry.point == point))


def table(found: dict[str, list[PromptScores]]) -> list[str]:
    """Means over prompts x 100 with 95 % intervals, and the gains over dense and preset, prompt by prompt."""
    columns = {size: _columns(scores) for size, scores in found.items()}
    lines = [f"| score x 100 (95 % interval) | {' | '.join(found)} |", "|---" * (len(found) + 1) + "|"]

    def add(name: str, cell: Any) -> None:
        lines.append(f"| {name} | {' | '.join(cell(column) for column in columns.values())} |")

    for name in NAMES:
        add(_TITLES[name], lambda column, name=name: str(mean_interval(column[name])))
    for name, other in _GAINS:
        title = f"gain: {_TITLES[name]}, over {_TITLES[other]}"
        add(title, lambda column, pair=(name, other): gain_interval(column[pair[0]], column[pair[1]]).as_gain())
    return lines


def _columns(scores: Sequence[PromptScores]) -> dict[str, NDArray[np.float64]]:
    return {name: np.array([getattr(one, name) for one in scores]) for name in NAMES}


_TITLES = {
    "dense": "dense, the search's seeds",
    "preset": "preset, the search's seeds",
    "search": "ratios for the prompt, the search's seeds",
    "dense_elsewhere": "dense, other seeds",
    "preset_elsewhere": "preset, other seeds",
    "search_elsewhere": "ratios for the prompt, other seeds",
    "best_picture": "best picture of the search",
    "best_dense": "best of as many dense pictures",
}
_GAINS = (
    ("search", "dense"),
    ("search_elsewhere", "dense_elsewhere"),
    ("search_elsewhere", "preset_elsewhere"),
    ("best_picture", "best_dense"),
)


def main() -> None:
    """Prints the table and keeps every prompt's scores; what is kept is not drawn again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="+", help="HEIGHTxWIDTH")
    parser.add_argument("--prompts", type=int, default=30)
    parser.add_argument("--evaluations", type=int, default=16)
    parser.add_argument("--steps", type=int, default=Drawing.steps)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--presets", type=Path, default=PRESETS)
    parser.add_argument("--work", type=Path, default=Path(".cache/demo/prompts"))
    parser.add_argument("--json", type=Path, help="file for all figures")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    model, judge, drawing = DemoModel(options.checkpoint), Judge(), Drawing(steps=options.steps)
    presets = from_text(options.presets.read_text("utf-8"), options.presets.name)
    found: dict[str, list[PromptScores]] = {}
    for size in map(Size.parse, options.sizes):
        preset = next((one for one in presets if one.size == size and model.sha256 in one.checkpoints), None)
        if preset is None:
            raise SystemExit(f"There is no preset for {size} and this checkpoint.")
        for scene in judging_scenes(options.prompts):
            scores = measured_once(model, judge, preset, scene, options.evaluations, drawing, options.work)
            found.setdefault(str(size), []).append(scores)
            print(size, scene.caption(), json.dumps({name: round(vars(scores)[name], 3) for name in NAMES}), flush=True)
        if options.json:
            kept = {size: [vars(one) for one in scores] for size, scores in found.items()}
            options.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()
