"""Evolution as in Diff-ES (Ruan et al.), on levels of the ratios and k, one child at a time.

Diff-ES evaluates children by generations of 16, which would be all of a budget of a few dozen; here each is the child
of one of the best of all before it. Its move, levels switched between two stages so that their sum stays, keeps the
compression that Diff-ES asks for. CR-Diff asks for none, so that as often one gene moves by itself; and where there is
one stage only, levels are switched between two of its genes.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from crdiff.errors import SettingsError
from crdiff.search.strategies.point import START, Point, rounded
from crdiff.search.strategies.space import Space
from crdiff.search.strategies.strategy import Options, Proposal, check_pending, check_seed, rng

LEVELS = 14
"""Steps from the lower to the upper bound of an axis: 0.05 of the default ratios."""
POPULATION = 8
"""Configurations before the first child: the starting points, then random ones."""
SURVIVORS = 4
LARGEST_MOVE = 3
"""Levels."""
SWITCHED = 0.5
"""Share of the children that switch levels between two stages, or two axes; the others move one axis."""
_TRIES = 32


class Evolution:
    """The starting points and random ones, then children of the best.

    Args:
        space: what may be varied.
        starts: the first configurations; they may lie outside the bounds.
        seed: of the random numbers.
    """

    name: ClassVar[str] = "evolution"

    def __init__(self, space: Space, starts: Sequence[Point] = (START,), seed: int = 0) -> None:
        self.space = space
        self.starts = tuple(starts)
        self.seed = check_seed(seed)
        self._told: list[tuple[Point, float | None]] = []

    @staticmethod
    def problem() -> str | None:
        return None

    @classmethod
    def create(cls, space: Space, starts: Sequence[Point], options: Options) -> Evolution:
        return cls(space, starts, options.seed)

    def settings(self) -> dict[str, Any]:
        constants = {"levels": LEVELS, "population": POPULATION, "survivors": SURVIVORS, "largest_move": LARGEST_MOVE}
        starts = [point.to_dict() for point in self.starts]
        return {"name": self.name, "seed": self.seed, "starts": starts, **constants, "switched": SWITCHED}

    @staticmethod
    def _survivors(told: Sequence[tuple[Point, float | None]]) -> list[tuple[Point, float]]:
        """The best, each once, the best first."""
        best: dict[str, tuple[Point, float]] = {}
        for point, score in told:
            if score is not None:
                best.setdefault(rounded(point), (point, score))
        return sorted(best.values(), key=lambda one: -one[1])[:SURVIVORS]

    def ask(self) -> Proposal | None:
        number, survivors = len(self._told), self._survivors(self._told)
        # A score below all survivors' changes nothing.
        last, limit = survivors[-1] if len(survivors) == SURVIVORS else (None, None)
        if number < len(self.starts):
            return Proposal(number, self.starts[number], "seed", limit, last)
        kind, point = self.next_of(number, self._told)
        return Proposal(number, point, kind, limit, last)

    def next_of(
        self, number: int, told: Sequence[tuple[Point, float | None]], running: Sequence[Point] = ()
    ) -> tuple[str, Point]:
        numbers, survivors = rng(self.seed, number), self._survivors(told)
        if number < POPULATION or not survivors:
            return "sample", self._random(numbers)
        known = {rounded(point) for point, _ in told}
        for _ in range(_TRIES):
            parent = survivors[int(len(survivors) * numbers.random())][0]
            child = self._at(self._mutated(self._levels(parent), numbers))
            if rounded(child) not in known:
                return "child", child
        return "sample", self._random(numbers)

    def _random(self, numbers: random.Random) -> Point:
        return self._at([int((LEVELS + 1) * numbers.random()) for _ in self.space.axes])

    def _levels(self, point: Point) -> list[int]:
        inside = self.space.clip(point)
        return [round(LEVELS * (inside[axis] - low) / (high - low)) for axis, (low, high) in self.space.bounds.items()]

    def _at(self, levels: Sequence[int]) -> Point:
        return self.space.at([level / LEVELS for level in levels])

    def _mutated(self, levels: list[int], numbers: random.Random) -> list[int]:
        """The levels after one move: some of one gene's given to another, or one gene's raised or lowered."""
        axes = self.space.axes
        kind, size = numbers.random(), 1 + int(LARGEST_MOVE * numbers.random())
        first, partner = int(len(axes) * numbers.random()), numbers.random()
        others = self.space.same_in_other_stages(axes[first]) or (*axes[first + 1 :], *axes[:first])
        if kind < SWITCHED and others:
            second = axes.index(others[int(len(others) * partner)])
            size = min(size, levels[first], LEVELS - levels[second])
            levels[first] -= size
            levels[second] += size
        else:
            up = numbers.random() < 0.5
            levels[first] = min(LEVELS, levels[first] + size) if up else max(0, levels[first] - size)
        return levels

    def tell(self, proposal: Proposal, score: float | None) -> bool:
        check_pending(self.ask(), proposal, score)
        self._told.append((proposal.point, score))
        return score is not None and any(point == proposal.point for point, _ in self._survivors(self._told))

    def state(self) -> dict[str, Any]:
        return {"told": [[point.to_dict(), score] for point, score in self._told]}

    def restore(self, state: Mapping[str, Any]) -> None:
        try:
            told = [(Point.from_dict(point), None if score is None else float(score)) for point, score in state["told"]]
        except (KeyError, TypeError, ValueError) as error:
            raise SettingsError(f"This is not the state of a search by evolution ({error}).") from None
        self._told = told

    def status(self) -> dict[str, float]:
        return {"samples": len(self._told)}
