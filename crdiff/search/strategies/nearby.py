"""Random configurations around the best so far.

Far from where a search starts most configurations are worse, and the scores of a dozen images are mostly noise. So the
samples stay near, but not so near that a single lucky score would hold them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import ClassVar

from crdiff.search.strategies.point import Point
from crdiff.search.strategies.random_search import RandomSearch
from crdiff.search.strategies.strategy import rng

REACH = 0.6
"""How far a sample may lie from the best on each axis, as a share of its range; the nearer, the likelier."""


class NearbySearch(RandomSearch):
    """The starting points, then samples around the best of all so far, triangularly distributed on each axis."""

    name: ClassVar[str] = "nearby"

    def next_of(
        self, number: int, told: Sequence[tuple[Point, float | None]], running: Sequence[Point] = ()
    ) -> tuple[str, Point]:
        scored = [(point, score) for point, score in told if score is not None]
        if not scored:
            return super().next_of(number, told, running)
        numbers, centre = rng(self.seed, number), self.space.clip(max(scored, key=lambda one: one[1])[0])
        bounds = self.space.bounds.items()
        return "sample", self.space.at(
            [_near((centre[axis] - low) / (high - low), numbers) for axis, (low, high) in bounds]
        )


def _near(centre: float, numbers: random.Random) -> float:
    """A number in [0, 1] around ``centre``."""
    while True:
        drawn = centre + REACH * (numbers.random() - numbers.random())
        if 0.0 <= drawn <= 1.0:
            return drawn
