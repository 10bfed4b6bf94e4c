"""Samples near the start and the best: how they spread, around what, and where they lead."""

from __future__ import annotations

import json
from statistics import fmean

import pytest
from problems import hill

from crdiff.search.strategies.nearby import NearbySearch
from crdiff.search.strategies.point import AXES, DENSE, START
from crdiff.search.strategies.random_search import RandomSearch
from crdiff.search.strategies.space import Space

SPACE = Space.vary(AXES, fixed=START)
MIDDLE = SPACE.at([0.5] * 4)
CORNER = SPACE.at([0.0, 1.0, 0.0, 1.0])


def place(point):
    """Where a configuration lies on each axis, as a share of its range."""
    return [(point[axis] - low) / (high - low) for axis, (low, high) in SPACE.bounds.items()]


def samples(told, first=1, starts=(DENSE, START)):
    """Every second one: those from an odd number on are around the best, the others around the start."""
    strategy = NearbySearch(SPACE, starts, seed=1)
    return [place(strategy.next_of(number, told)[1]) for number in range(first, 1600, 2)]


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


def test_every_second_sample_is_around_the_first_start_that_prunes_anything():
    told = [(DENSE, 0.6), (START, 0.4), (CORNER, 0.9)]
    for axis, values in enumerate(zip(*samples(told, 2, [DENSE, CORNER, START]))):
        assert fmean(abs(value - axis % 2) for value in values) == pytest.approx(0.2, abs=0.02)
    assert samples(told, 2, [DENSE, CORNER]) != samples(told, 2, [DENSE, MIDDLE])


def test_a_best_outside_the_bounds_counts_from_its_nearest_place_inside():
    assert samples([(DENSE, 0.5)]) == samples([(SPACE.clip(DENSE), 0.5)]) != samples([(START, 0.5)])
    # Where no start prunes anything all are around the best.
    assert samples([(START, 0.5)], 2, [DENSE]) == samples([(START, 0.5)], 2, [START]) != samples([], 2)


def run(strategy, count):
    proposals = []
    for _ in range(count):
        proposals.append(strategy.ask())
        strategy.tell(proposals[-1], hill(proposals[-1].point, "a cat", 1))
    return proposals


def test_it_climbs_where_random_only_looks_and_goes_on_from_its_state():
    def best(kind, seed):
        proposals = run(kind(SPACE, [START], seed), 24)
        return max(hill(one.point, "a cat", 1) for one in proposals)

    assert fmean(best(NearbySearch, seed) - best(RandomSearch, seed) for seed in range(12)) > 0.02
    whole, first, again = (NearbySearch(SPACE, [START, DENSE], seed=5) for _ in range(3))
    proposals = run(whole, 20)
    run(first, 9)
    again.restore(json.loads(json.dumps(first.state())))
    assert run(again, 11) == proposals[9:]
