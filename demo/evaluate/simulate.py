"""``python -m demo.evaluate.simulate``: hundreds of searches on the landscapes, in seconds; which strategy wins.

Between the configurations of a landscape every image's expected score is a Gaussian process's mean. A search sees other
images than those by which its find is judged, and their scores are drawn by that expectation.

With ``--recorded`` a configuration has the scores that were drawn at the nearest point of the landscape, so that every
score is an image's and nothing is left to a model or to chance.

A strategy with ``+`` behind its name ends as a search in the accordion does: the best few and the start race on fresh
noises. It then tries fewer configurations, so that it draws no more images than the others do.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crdiff import console
from crdiff.search.errors import AbortSearchError
from crdiff.search.fresh import FINALISTS, finalists, race
from crdiff.search.objective import EvaluateMany, Image, Objective
from crdiff.search.search import Budget, Search
from crdiff.search.strategies import registry
from crdiff.search.strategies.annealing import iterations_for
from crdiff.search.strategies.point import AXES, DENSE, Point
from crdiff.search.strategies.space import Space
from crdiff.search.strategies.strategy import Options, Strategy
from demo.evaluate.judge import gain_interval
from demo.evaluate.landscape import FOLDER, SPACE, Landscape

START = Point(0.3, 0.3, 0.3, 1.5)
BUDGETS = (12, 24, 48)
DEFAULTS = ("nearby+", "random+", "evolution+")
IMAGES = 12
"""Of a configuration, each of another caption as far as there are enough."""
FINALS = "+"
LENGTH, NOISE = 0.7, 0.01
"""Of the process: those that tell best what was left out, of lengths from 0.3 to 1.5 and noises from 0.003 to 0.3."""


class Terrain:
    """A landscape between its points: the mean of a Gaussian process for every image.

    Args:
        landscape: its points and scores.
    """

    def __init__(self, landscape: Landscape) -> None:
        self.images = landscape.images
        self.dense: NDArray[np.float64] = landscape.scores[0] / 255.0
        self._places = _unit(landscape.points)[1:]
        self._scores = landscape.scores[1:] / 255.0
        self._centre = self._scores.mean(axis=0)
        self._precision = np.linalg.inv(self._alike(self._places) + NOISE * np.eye(len(self._places)))
        self._weights = self._precision @ (self._scores - self._centre)

    def _alike(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        squares: NDArray[np.float64] = ((places[:, None] - self._places[None]) ** 2).sum(axis=-1)
        alike: NDArray[np.float64] = np.exp(-0.5 * squares / LENGTH**2)
        return alike

    def means(self, point: Point) -> NDArray[np.float64]:
        """The expected score of every image at a configuration."""
        if point == DENSE:
            return self.dense
        place = _unit(np.array([[point[axis] for axis in AXES]]))
        expected: NDArray[np.float64] = self._centre + (self._alike(place) @ self._weights)[0]
        return expected.clip(0.0, 1.0)

    def drawn(self, point: Point, chances: NDArray[np.float64]) -> NDArray[np.float64]:
        """The scores of every image as a search sees them: right or wrong, as most real ones are.

        Args:
            point: the configuration.
            chances: of each image, from 0 to 1; the same for all configurations of a search, whose images are of the
                same noises.
        """
        drawn: NDArray[np.float64] = (chances < self.means(point)).astype(float)
        return drawn

    def left_out_error(self) -> tuple[float, float]:
        """Root mean square error of a configuration's mean told by the others, and the spread of these means."""
        means = self._scores.mean(axis=1)
        errors = (self._precision @ (means - means.mean())) / np.diag(self._precision)
        return float(np.sqrt((errors**2).mean())), float(means.std())


class Recorded(Terrain):
    """A landscape in steps: a configuration has the scores of the images that were drawn at the nearest point."""

    def means(self, point: Point) -> NDArray[np.float64]:
        if point == DENSE:
            return self.dense
        away = _unit(np.array([[point[axis] for axis in AXES]])) - self._places
        nearest: NDArray[np.float64] = self._scores[int((away**2).sum(axis=1).argmin())]
        return nearest

    def drawn(self, point: Point, chances: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.means(point)


def _unit(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Configurations as places in the unit cube."""
    low, high = np.array(list(SPACE.bounds.values())).T
    placed: NDArray[np.float64] = (points - low) / (high - low)
    return placed


@dataclass(frozen=True)
class Trial:
    """One search.

    Attributes:
        space: what it may vary.
        name: of the strategy; behind a colon the annealing's temperature, and behind all ``+`` for a race at the end.
        seed: of the strategy.
        budgets: in evaluations of the first round's images, rising; the dense model's is not among them.
        racing: see Objective.
    """

    space: Space
    name: str
    seed: int
    budgets: tuple[int, ...]
    racing: str = "off"

    @property
    def rounds(self) -> int:
        """Of images that it may need: those of every configuration, then of the race."""
        return 1 + _fresh_rounds(max(self.budgets))

    def strategy(self) -> Strategy:
        """In its initial state.

        Raises:
            SettingsError: there is none of this name.
        """
        kind, _, temperature = self.name.removesuffix(FINALS).partition(":")
        options = Options(self.seed, iterations_for(max(self.budgets)), float(temperature or 0))
        return registry.make(kind, self.space, [self.space.clip(START)], options)

    def finds(self, rounds: Sequence[Sequence[Image]], evaluate_many: EvaluateMany) -> list[Point]:
        """The configuration that it ends with, after each budget.

        Args:
            rounds: images of one noise for every caption each.
            evaluate_many: scores images.
        """
        objective = _objective(rounds[0], evaluate_many, self.racing)
        most = Budget(evaluations=1 + max(map(self._configurations, self.budgets)))
        report = Search(self.space, self.strategy(), objective, None, DENSE).run(most)
        if report.state != "done":
            raise AbortSearchError(report.message)
        tried = [entry for entry in report.history if not entry.repeat]
        found = []
        for budget in self.budgets:
            seen = tried[: 1 + self._configurations(budget)]
            point = max(seen, key=lambda entry: -math.inf if entry.score is None else entry.score).point
            if self.name.endswith(FINALS) and (fresh := _fresh_rounds(budget)):
                point = race(finalists(seen, self.space.clip(START)), rounds[1 : 1 + fresh], evaluate_many)
            found.append(point)
        return found

    def _configurations(self, budget: int) -> int:
        """That are tried, such that a race draws no more images than are left."""
        fresh = _fresh_rounds(budget) if self.name.endswith(FINALS) else 0
        return budget - fresh * (FINALISTS + 1)


def simulate(terrain: Terrain, trial: Trial) -> list[float]:
    """The mean score of a search's finds on the images that no search has seen, after each budget.

    Args:
        terrain: where.
        trial: its seed decides too which images the search sees, ``IMAGES`` of every configuration.
    """
    random = np.random.default_rng(trial.seed)
    captions: dict[str, list[int]] = {}
    for column, (caption, _) in enumerate(terrain.images):
        captions.setdefault(caption, []).append(column)
    shuffled = [[int(column) for column in random.permutation(columns)] for columns in captions.values()]
    rounds = [sorted(columns[place] for columns in shuffled[:IMAGES]) for place in range(trial.rounds)]
    chances = random.random(len(terrain.images))
    column_of = {terrain.images[column]: column for columns in rounds for column in columns}

    def evaluate_many(point: Point, images: Sequence[Image]) -> list[float]:
        scores = terrain.drawn(point, chances)
        return [float(scores[column_of[image]]) for image in images]

    unseen = np.setdiff1d(np.arange(len(terrain.images)), list(column_of.values()))
    finds = trial.finds([[terrain.images[column] for column in columns] for columns in rounds], evaluate_many)
    return [float(terrain.means(point)[unseen].mean()) for point in finds]


def _fresh_rounds(budget: int) -> int:
    """Fresh noises of every caption in a race for up to half of a budget."""
    return budget // (2 * (FINALISTS + 1))


def _objective(seen: Sequence[Image], evaluate_many: EvaluateMany, racing: str) -> Objective:
    """An objective's images are all pairs of prompts and seeds; here each image is a prompt of its own."""
    named = {f"{image}": image for image in seen}

    def by_name(point: Point, images: Sequence[Image]) -> Sequence[float]:
        return evaluate_many(point, [named[name] for name, _ in images])

    batch = len(seen) if racing == "off" else 4
    return Objective(tuple(named), (0,), evaluate_many=by_name, batch=batch, racing=racing, highest=1.0)


def main() -> None:
    """Prints a table: how far each strategy's finds lie above random's, with the 95 % interval over the searches."""
    console.allow_any_text()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", help="HEIGHTxWIDTH (default: all landscapes)")
    parser.add_argument("--strategies", nargs="*", default=[*registry.available(), *DEFAULTS])
    parser.add_argument("--vary", nargs="*", default=list(AXES), choices=AXES)
    parser.add_argument("--searches", type=int, default=200)
    parser.add_argument("--budgets", type=int, nargs="*", default=list(BUDGETS))
    parser.add_argument("--racing", default="off", choices=["off", "exact", "likely"])
    parser.add_argument("--recorded", action="store_true", help="the nearest point's own scores")
    parser.add_argument("--landscapes", type=Path, default=FOLDER)
    parser.add_argument("--json", type=Path, help="file for all figures")
    options = parser.parse_args()
    space = Space.vary(options.vary, fixed=START)
    figures: dict[str, Any] = {}
    for path in sorted(options.landscapes.glob("*.npz")):
        if options.sizes and path.stem not in options.sizes:
            continue
        terrain = (Recorded if options.recorded else Terrain)(Landscape.read(path))
        error, spread = terrain.left_out_error()
        start, dense = terrain.means(space.clip(START)).mean(), terrain.dense.mean()
        print(f"{path.stem}: dense {dense:.3f}, start {start:.3f}; a mean told by the others is off by {error:.3f}, "
              f"of a spread of {spread:.3f}", flush=True)  # fmt: skip
        found = {}
        for name in options.strategies:
            trial = Trial(space, name, 0, tuple(options.budgets), options.racing)
            seeds = range(options.searches)
            found[name] = np.array([simulate(terrain, replace(trial, seed=seed)) for seed in seeds])
        figures[path.stem] = {name: values.mean(axis=0).round(4).tolist() for name, values in found.items()}
        for name, values in found.items():
            cells = []
            for place, budget in enumerate(options.budgets):
                gain = gain_interval(values[:, place], found["random"][:, place]).as_gain() if "random" in found else ""
                cells.append(f"{budget}: {100 * values[:, place].mean():.1f} ({gain})")
            print(f"  {name}: {'; '.join(cells)}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
