"""The seeds of several images of which the best is taken; the same in every evaluation and comparison."""

from __future__ import annotations

SHIFT = 1_000_000
"""From the seed of an image to that of the next, so that few seeds in a row have candidates of their own."""

_SEEDS = 2**32
"""Hosts know no larger seeds."""


def seeds_of(seed: int, count: int) -> list[int]:
    """The seed itself, then those of the other candidates."""
    return [seed, *((seed + number * SHIFT) % _SEEDS for number in range(1, count))]
