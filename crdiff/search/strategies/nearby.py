"""Random configurations around the start and the best so far.

Where a search starts is mostly a good place already, and the scores of a dozen images are mostly noise. So half of the
samples stay near the start, and no lucky score leads them away; by the others a search leaves a start that is not good.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import ClassVar

from crdiff.search.strategies.point import Point
from crdiff.search.strategies.random_search import RandomSearch
from crdiff.search.strategies.strategy import rng

REACH = 0.6
"""How far a sample may lie from its centre on each axis, as a share of its range; the nearer, the likelier."""


class NearbySearch(RandomSearch):
    """The starting points, then samples around one of them and around the best of all so far in turn.

    On each axis they are triangularly distributed, within the bounds.
    """

    name: ClassVar[str] = "nearby"

    def next_of(
        self, number: int, told: Sequence[tuple[Point, float | None]], running: Sequence[Point] = ()
    ) -> tuple[str, Point]:
        scored = [(point, score) for point, score in told if score is not None]
        if not scored:
            return super().next_of(number, told, running)
        best, _ = max(scored, key=lambda one: one[1])
        start = next((point for point in self.starts if not point.is_dense), best)
        centre, numbers = self.space.clip(best if number % 2 else start), rng(self.seed, number)
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
