"""``python -m demo.evaluate.criteria``: what should the second pass leave out?

Every criterion at the ratios, and the k, that a search of the same budget finds for it, judged on captions that no
search has seen.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from crdiff.cost import unet_passes
from crdiff.method.schedule import Schedule, StepWindow
from crdiff.modes.registry import MODES
from crdiff.plan import Plan
from crdiff.presets.size import Size
from crdiff.pruning.registry import CRITERIA, DEFAULT_CRITERION, Needs
from crdiff.search.errors import AbortSearchError
from crdiff.search.journal import Journal
from crdiff.search.objective import Objective
from crdiff.search.search import Budget, Search
from crdiff.search.strategies import annealing
from crdiff.search.strategies.annealing import SimulatedAnnealing
from crdiff.search.strategies.space import AXES, DENSE, GROUPS, Point, Space
from demo.evaluate.compare import Sample
from demo.evaluate.find_presets import TEMPERATURE
from demo.evaluate.judge import Interval, Judge, gain_interval, mean_interval
from demo.evaluate.model import DemoModel, Drawing
from demo.evaluate.objective import noise_seed, scores_at
from demo.prepare import CHECKPOINT
from demo.scenes.scene import NATIVE, judging_scenes, search_scenes

SIZES = ("80x128", "96x128", "112x112", f"{NATIVE}x{NATIVE}")
STARTS = (0.03, 0.05, 0.1, 0.2, 0.35, 0.5)
"""Ratios of the first configurations, the same for all groups: criteria differ tenfold in how much of them helps."""
BOUNDS, K_BOUNDS, K_START = (0.01, 0.8), (1.0, 2.5), 1.5
CALIBRATION_IMAGES = 16
AXES_VARIED = {"k = 1": GROUPS, "k varied": AXES}
DENSE_NAME = "dense"


Key = tuple[str, str, str, str]
"""Size, criterion, size it is calibrated at, and what is varied."""


@dataclass(frozen=True)
class Cell:
    """One criterion at one size, judged.

    Attributes:
        size: height x width in pixels.
        criterion: its name; ``dense`` for the model as it is.
        calibrated: size of the images whose inputs it knows, empty if it knows none.
        varied: a key of ``AXES_VARIED``, empty for the dense model.
        ratios: found by the search, down, mid, up.
        k: found, or 1.
        passes: UNet passes a step.
        right: a digit for every image, scene by scene: 1 where the caption is right.
        scores: of every image, x 1000.
        seconds: of an image, on one thread.
    """

    size: str
    criterion: str
    calibrated: str
    varied: str
    ratios: tuple[float, float, float]
    k: float
    passes: float
    right: str
    scores: tuple[int, ...]
    seconds: float

    @property
    def key(self) -> Key:
        return self.size, self.criterion, self.calibrated, self.varied

    def values(self, seeds: int) -> NDArray[np.float64]:
        """The share of its images that are right, for every scene."""
        return np.array([float(one) for one in self.right]).reshape(-1, seeds).mean(axis=1)


@dataclass(frozen=True)
class Protocol:
    """How configurations are found and judged; what was measured under another one is measured again."""

    checkpoint: str
    evaluations: int
    search_prompts: int
    prompts: int
    seeds: int
    steps: int


def found_point(model: DemoModel, judge: Judge, key: Key, drawing: Drawing, protocol: Protocol, work: Path) -> Point:
    """The configuration with the best score on the captions for searches."""
    size, criterion, calibrated, varied = key
    k = 1.0 if varied == "k = 1" else K_START
    space = Space.vary(AXES_VARIED[varied], fixed=Point(0.3, 0.3, 0.3, k), ratios=BOUNDS, k=K_BOUNDS)
    starts = tuple(Point(ratio, ratio, ratio, k) for ratio in STARTS)
    schedule = annealing.Schedule(iterations=protocol.evaluations, temperature=TEMPERATURE)
    strategy = SimulatedAnnealing(space, starts, seed=0, schedule=schedule)
    prompts = tuple(scene.caption() for scene in search_scenes(protocol.search_prompts))
    objective = Objective(
        prompts,
        (1,),
        evaluate_many=scores_at(model, judge, Size.parse(size), drawing),
        batch=drawing.batch,
        racing="off",
    )
    identity = {**asdict(protocol), "key": list(key)}
    name = "-".join(["criteria", size, criterion, calibrated, varied.replace(" = ", "")])
    journal = Journal(work / f"{name}.jsonl".replace(" ", "-"), identity)
    report = Search(space, strategy, objective, journal).run(Budget(evaluations=protocol.evaluations))
    if report.best is None:
        raise AbortSearchError(f"{size}, {criterion}: {report.message}")
    return report.best.point


def judged(model: DemoModel, judge: Judge, key: Key, point: Point, drawing: Drawing, protocol: Protocol) -> Cell:
    """The configuration on the captions for judging."""
    sample = Sample(tuple(judging_scenes(protocol.prompts)), tuple(range(1, protocol.seeds + 1)))
    began = time.process_time()
    images = sample.draw(model, Size.parse(key[0]), point.ratios, point.k, drawing)
    seconds = (time.process_time() - began) / len(images)
    verdict = judge.verdict(images, sample.asked)
    plan = Plan(Schedule.constant(point.ratios), point.k, "")
    return Cell(
        *key,
        (point.down, point.mid, point.up),
        point.k,
        unet_passes(plan, MODES[drawing.mode], StepWindow()),
        "".join("01"[bool(one)] for one in verdict.right),
        tuple(round(1000 * float(score)) for score in verdict.scores),
        round(seconds, 4),
    )


def table(cells: Sequence[Cell], seeds: int) -> list[str]:
    """Markdown: what was found, the share of captions right, and the gains over dense and over magnitude."""
    by = {cell.key: cell for cell in cells}
    lines = [
        "| size (h x w) | criterion | | ratios | k | passes | captions right, % | beyond dense | beyond magnitude |"
    ]
    lines.append("|" + " --- |" * 9)
    for cell in cells:
        right = mean_interval(cell.values(seeds))
        dense, magnitude = (
            by.get((cell.size, DENSE_NAME, "", "")),
            by.get((cell.size, DEFAULT_CRITERION, "", cell.varied)),
        )
        ratios = "-" if not cell.varied else "/".join(f"{ratio:.3g}" for ratio in cell.ratios)
        k = "-" if not cell.varied else f"{cell.k:.2f}"
        gains = [_gain(cell, other, seeds) for other in (dense, magnitude)]
        criterion = f"{cell.criterion}, calibrated at {cell.calibrated}" if cell.calibrated else cell.criterion
        shown = [cell.size, criterion, cell.varied, ratios, k, f"{cell.passes:.2f}", str(right), *gains]
        lines.append("| " + " | ".join(shown) + " |")
    return lines


def _gain(cell: Cell, other: Cell | None, seeds: int) -> str:
    if other is None or other is cell:
        return ""
    gain: Interval = gain_interval(cell.values(seeds), other.values(seeds))
    return gain.as_gain()


def _measure(key: Key, model: DemoModel, judge: Judge, protocol: Protocol, work: Path) -> Cell:
    _, criterion, calibrated, _ = key
    drawing = Drawing(steps=protocol.steps)
    if criterion == DENSE_NAME:
        return judged(model, judge, key, DENSE, drawing, protocol)
    if calibrated:
        captions = [scene.caption() for scene in search_scenes(CALIBRATION_IMAGES)]
        size = Size.parse(calibrated)
        model.calibrate(captions, [noise_seed(one, 0) for one in captions], (size.height, size.width), drawing)
    drawing = replace(drawing, criterion=criterion)
    point = found_point(model, judge, key, drawing, protocol, work)
    return judged(model, judge, key, point, drawing, protocol)


def _keys(options: argparse.Namespace) -> list[Key]:
    """What is to be measured: what needs a calibration with one at the native size, and at the size if asked for."""
    native, keys = f"{NATIVE}x{NATIVE}", []
    for size in options.sizes:
        keys.append((size, DENSE_NAME, "", ""))
        for name in options.criteria:
            known = [""] if CRITERIA[name].needs is Needs.NOTHING else [native]
            if known == [native] and options.calibrate_at_size and size != native:
                known.append(size)
            keys += [(size, name, calibrated, varied) for calibrated in known for varied in options.varied]
    return keys


def _read(path: Path | None, protocol: Protocol) -> list[Cell]:
    if path is None or not path.is_file():
        return []
    kept = json.loads(path.read_text("utf-8"))
    if kept["protocol"] != asdict(protocol):
        return []
    return [
        Cell(**{**cell, "ratios": tuple(cell["ratios"]), "scores": tuple(cell["scores"])}) for cell in kept["cells"]
    ]


def _write(path: Path, protocol: Protocol, cells: Sequence[Cell]) -> None:
    lines = ",\n".join(json.dumps(asdict(cell)) for cell in cells)
    path.write_text(f'{{"protocol": {json.dumps(asdict(protocol))},\n"cells": [\n{lines}\n]}}\n', encoding="utf-8")


def main() -> None:
    """Measures what the file of results lacks, and prints the table of all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="*", default=list(SIZES), help="HEIGHTxWIDTH")
    parser.add_argument("--criteria", nargs="*", default=list(CRITERIA), choices=list(CRITERIA), metavar="NAME")
    parser.add_argument("--varied", nargs="*", default=list(AXES_VARIED), choices=list(AXES_VARIED))
    parser.add_argument("--calibrate-at-size", action="store_true", help="calibrate at each size too")
    parser.add_argument("--evaluations", type=int, default=16, help="of each search")
    parser.add_argument("--search-prompts", type=int, default=50)
    parser.add_argument("--prompts", type=int, default=200, help="for judging")
    parser.add_argument("--seeds", type=int, default=2, help="for judging")
    parser.add_argument("--steps", type=int, default=Drawing.steps)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--work", type=Path, default=Path(".cache/demo/search"))
    parser.add_argument("--json", type=Path, help="results; what it holds is not measured again")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    model, judge = DemoModel(options.checkpoint, options.work / "calibrations"), Judge()
    given = (options.evaluations, options.search_prompts, options.prompts, options.seeds, options.steps)
    protocol = Protocol(model.sha256, *given)
    keys = _keys(options)
    cells = {cell.key: cell for cell in _read(options.json, protocol)}
    for key in keys:
        if key not in cells:
            cells[key] = _measure(key, model, judge, protocol, options.work)
            print(table(list(cells.values()), protocol.seeds)[-1], flush=True)
            if options.json:
                _write(options.json, protocol, list(cells.values()))
    print("\n".join(table([cells[key] for key in keys], protocol.seeds)))


if __name__ == "__main__":
    main()
