"""``python -m demo.evaluate.criteria``: what should the second pass leave out?

Every criterion at the ratios, and the k, that a search of the same budget finds for it, judged on captions that no
search has seen. ``python -m demo.evaluate.criteria_report`` makes tables and plots of the files.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch

from crdiff import console
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
from crdiff.search.strategies.point import AXES, DENSE, Point
from crdiff.search.strategies.space import GROUPS, Space
from demo.evaluate.cells import DENSE_NAME, MAIN, Cell, Key, Measured, Protocol, table
from demo.evaluate.compare import Sample
from demo.evaluate.criteria_cost import saved
from demo.evaluate.find_presets import TEMPERATURE
from demo.evaluate.judge import Judge
from demo.evaluate.model import DemoModel, Drawing
from demo.evaluate.objective import noise_seed, scores_at
from demo.prepare import CHECKPOINT
from demo.scenes.scene import NATIVE, judging_scenes, search_scenes

SIZES = ("80x128", "96x128", "112x112", f"{NATIVE}x{NATIVE}")
STARTS = (0.03, 0.05, 0.1, 0.2, 0.35, 0.5)
"""Ratios of the first configurations, the same for all groups: criteria differ tenfold in how much of them helps."""
BOUNDS, K_BOUNDS, K_START = (0.01, 0.8), (1.0, 2.5), 1.5
CALIBRATION_IMAGES = 16
AT_HOME = "native"
"""The size of training, where criteria are calibrated."""


@dataclass(frozen=True)
class Varied:
    """What a search may vary.

    Attributes:
        axes: of them those that are free; other ratios are 0, and k is 1 where it is not free.
        scaled_attention: see Drawing.
    """

    axes: tuple[str, ...] = AXES
    scaled_attention: bool = False

    def start(self, ratio: float) -> Point:
        """The configuration with one ratio wherever it is free."""
        return Point(*(ratio * (group in self.axes) for group in GROUPS), K_START if "k" in self.axes else 1.0)


VARIED = {
    "k = 1": Varied(GROUPS),
    "k varied": Varied(),
    "down alone": Varied(("down", "k")),
    "mid alone": Varied(("mid", "k")),
    "up alone": Varied(("up", "k")),
    "attention scaled": Varied(scaled_attention=True),
}


MEASURED = tuple(name for name in CRITERIA if name != "obs-diff-2of4")
"""Criteria with ratios that a search can vary."""


class Bench:
    """Measures one cell after the other.

    Args:
        model: draws.
        judge: scores.
        protocol: how.
        batch: images at a time.
        work: folder of the searches' journals.
    """

    def __init__(self, model: DemoModel, judge: Judge, protocol: Protocol, batch: int, work: Path) -> None:
        self._model, self._judge, self._protocol, self._work = model, judge, protocol, work
        self._drawing = Drawing(steps=protocol.steps, batch=batch)
        self._calibrated = ""

    def measure(self, key: Key) -> Cell:
        """Finds the best configuration and judges it."""
        return self.judged(key, DENSE if key[1] == DENSE_NAME else self._found(key, self._drawing_of(key)))

    def judged(self, key: Key, point: Point, scenes: slice = slice(None)) -> Cell:
        """A configuration on the captions for judging, or some of them."""
        protocol, drawing = self._protocol, self._drawing_of(key)
        sample = Sample(tuple(judging_scenes(protocol.prompts)[scenes]), tuple(range(1, protocol.seeds + 1)))
        images = sample.draw(self._model, Size.parse(key[0]), point.ratios, point.k, drawing)
        verdict = self._judge.verdict(images, sample.asked)
        plan = Plan(Schedule.constant(point.ratios), point.k, "")
        saves = partial(saved, self._model, Size.parse(key[0]), drawing)
        return Cell(
            *key,
            (point.down, point.mid, point.up),
            point.k,
            unet_passes(plan, MODES[drawing.mode], StepWindow(), saves),
            "".join("01"[bool(one)] for one in verdict.right),
            tuple(round(1000 * float(score)) for score in verdict.scores),
        )

    def _drawing_of(self, key: Key) -> Drawing:
        """How a cell is drawn, once the model is calibrated as the cell asks for."""
        _, criterion, calibrated, varied = key
        if calibrated and calibrated != self._calibrated:
            self._calibrate(calibrated)
        scaled = varied in VARIED and VARIED[varied].scaled_attention
        kept = DEFAULT_CRITERION if criterion == DENSE_NAME else criterion
        return replace(self._drawing, criterion=kept, scaled_attention=scaled)

    def _calibrate(self, size: str) -> None:
        began, pixels = time.perf_counter(), Size.parse(size)
        captions = [scene.caption() for scene in search_scenes(CALIBRATION_IMAGES)]
        seeds = [noise_seed(one, 0) for one in captions]
        self._model.calibrate(captions, seeds, (pixels.height, pixels.width), self._drawing)
        self._calibrated = size
        print(f"calibrated at {size} in {time.perf_counter() - began:.1f} s", flush=True)

    def _found(self, key: Key, drawing: Drawing) -> Point:
        """The configuration with the best score on the captions for searches."""
        size, criterion, calibrated, varied = key
        protocol, free = self._protocol, VARIED[varied]
        starts = tuple(map(free.start, STARTS))
        space = Space.vary(free.axes, fixed=starts[0], ratios=BOUNDS, k=K_BOUNDS)
        schedule = annealing.Schedule(iterations=protocol.evaluations, temperature=TEMPERATURE)
        strategy = SimulatedAnnealing(space, starts, seed=0, schedule=schedule)
        prompts = tuple(scene.caption() for scene in search_scenes(protocol.search_prompts))
        objective = Objective(
            prompts,
            tuple(range(1, protocol.search_seeds + 1)),
            evaluate_many=scores_at(self._model, self._judge, Size.parse(size), drawing),
            batch=drawing.batch,
            racing="off",
        )
        identity = {**asdict(protocol), "key": list(key)}
        way = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:8]
        name = "-".join(["criteria", size, criterion, calibrated, varied.replace(" = ", ""), way])
        journal = Journal(self._work / f"{name}.jsonl".replace(" ", "-"), identity)
        report = Search(space, strategy, objective, journal).run(Budget(evaluations=protocol.evaluations))
        if report.best is None:
            raise AbortSearchError(f"{size}, {criterion}: {report.message}")
        return report.best.point


def _keys(options: argparse.Namespace) -> list[Key]:
    """What is to be measured: what needs no calibration once, the rest calibrated as asked for."""
    keys: list[Key] = []
    for size in options.sizes:
        keys.append((size, DENSE_NAME, "", ""))
        keys += [(size, DENSE_NAME, "", varied) for varied in options.varied if VARIED[varied].scaled_attention]
        for name in options.criteria:
            sizes = [f"{NATIVE}x{NATIVE}" if one == AT_HOME else size for one in options.calibrated]
            known = [""] if CRITERIA[name].needs is Needs.NOTHING else dict.fromkeys(sizes)
            keys += [(size, name, calibrated, varied) for calibrated in known for varied in options.varied]
    return keys


def kept_results(path: Path | None, protocol: Protocol) -> Measured:
    """What a file holds of this protocol."""
    if path is not None and path.is_file():
        kept = Measured.read(path)
        if kept.protocol == protocol:
            return kept
    return Measured(protocol, {})


def main() -> None:
    """Measures what the file of results lacks, and prints the table of all of it."""
    console.allow_any_text()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="*", default=list(SIZES), help="HEIGHTxWIDTH")
    parser.add_argument("--criteria", nargs="*", default=list(MEASURED), choices=list(CRITERIA), metavar="NAME")
    parser.add_argument("--varied", nargs="*", default=list(MAIN), choices=list(VARIED))
    parser.add_argument("--calibrated", nargs="*", default=[AT_HOME], choices=[AT_HOME, "each"], help="at which size")
    parser.add_argument("--evaluations", type=int, default=16, help="of each search")
    parser.add_argument("--search-prompts", type=int, default=50)
    parser.add_argument("--search-seeds", type=int, default=1)
    parser.add_argument("--prompts", type=int, default=200, help="for judging")
    parser.add_argument("--seeds", type=int, default=2, help="for judging")
    parser.add_argument("--steps", type=int, default=Drawing.steps)
    parser.add_argument("--device", default="cpu", help="that draws and judges, such as cuda")
    parser.add_argument("--batch", type=int, default=Drawing.batch, help="images at a time")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--work", type=Path, default=Path(".cache/demo/search"))
    parser.add_argument("--json", type=Path, help="results; what it holds is not measured again")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    model, judge = DemoModel(options.checkpoint, options.device), Judge(device=options.device)
    counts = (options.evaluations, options.search_prompts, options.search_seeds, options.prompts, options.seeds)
    protocol = Protocol(model.sha256, *counts, options.steps)
    measured, keys = kept_results(options.json, protocol), _keys(options)
    bench = Bench(model, judge, protocol, options.batch, options.work)
    for key in keys:
        if key not in measured.cells:
            began = time.perf_counter()
            measured.cells[key] = bench.measure(key)
            line = table(measured, [measured.cells[key]])[-1]
            print(f"{line} {time.perf_counter() - began:.1f} s", flush=True)
            if options.json:
                measured.write(options.json)
    print("\n".join(table(measured, [measured.cells[key] for key in keys])))


if __name__ == "__main__":
    main()
