"""Samples near the best: how they spread, around what, and where they lead."""

from __future__ import annotations

import json
from statistics import fmean

import pytest
from problems import hill

from crdiff.search.strategies.nearby import NearbySearch
from crdiff.search.strategies.point import AXES, DENSE, START, Point
from crdiff.search.strategies.random_search import RandomSearch
from crdiff.search.strategies.space import Space

SPACE = Space.vary(AXES, fixed=START)
MIDDLE = SPACE.at([0.5] * 4)
CORNER = SPACE.at([0.0, 1.0, 0.0, 1.0])


def place(point):
    """Where a configuration lies on each axis, as a share of its range."""
    return [(point[axis] - low) / (high - low) for axis, (low, high) in SPACE.bounds.items()]


def samples(told, count=1000):
    return [place(NearbySearch(SPACE, [START], seed=1).next_of(number, told)[1]) for number in range(2, count)]


def test_samples_are_spread_as_a_triangle_around_the_best_and_end_at_the_bounds():
    drawn = samples([(START, 0.4), (MIDDLE, 0.5), (CORNER, None)])
    # Two thirds of a triangle's area lie within 1 - sqrt(1 / 3) of its reach, which is cut off at 5 / 6.
    whole = 1.0 - (1.0 / 6.0) ** 2
    for axis in range(4):
        values = [one[axis] for one in drawn]
        assert fmean(values) == pytest.approx(0.5, abs=0.03) and min(values) >= 0.0 and max(values) <= 1.0
        within = fmean(abs(value - 0.5) < 0.6 * (1.0 - (1.0 / 3.0) ** 0.5) for value in values)
        assert within == pytest.approx(2.0 / 3.0 / whole, abs=0.05)
    for axis, values in enumerate(zip(*samples([(START, 0.4), (CORNER, 0.5)]))):
        away = [abs(value - axis % 2) for value in values]
        assert fmean(away) == pytest.approx(0.2, abs=0.02) and max(away) <= 0.6  # a third of the reach


def test_a_best_outside_the_bounds_counts_from_its_nearest_place_inside():
    first = [NearbySearch(SPACE, [DENSE]).next_of(number, [(point, 0.5)])[1] for number, point in
             ((9, DENSE), (9, SPACE.clip(DENSE)))]  # fmt: skip
    assert first[0] == first[1] != NearbySearch(SPACE, [DENSE]).next_of(9, [])[1]


def run(strategy, count):
    proposals = []
    for _ in range(count):
        proposals.append(strategy.ask())
        strategy.tell(proposals[-1], hill(proposals[-1].point, "a cat", 1))
    return proposals


def test_it_climbs_where_random_only_looks_and_goes_on_from_its_state():
    def best(kind, seed):
        proposals = run(kind(SPACE, [Point(0.15, 0.6, 0.2, 1.0)], seed), 24)
        return max(hill(one.point, "a cat", 1) for one in proposals)

    assert fmean(best(NearbySearch, seed) - best(RandomSearch, seed) for seed in range(12)) > 0.02
    whole, first, again = (NearbySearch(SPACE, [START, DENSE], seed=5) for _ in range(3))
    proposals = run(whole, 20)
    run(first, 9)
    again.restore(json.loads(json.dumps(first.state())))
    assert run(again, 11) == proposals[9:]
