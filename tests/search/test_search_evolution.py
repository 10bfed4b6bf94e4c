"""Evolution: what its children are, and where they lead."""

from __future__ import annotations

import json

import pytest
from problems import hill

from crdiff.errors import SettingsError
from crdiff.search.strategies.evolution import Evolution
from crdiff.search.strategies.point import AXES, DENSE, START, Point
from crdiff.search.strategies.random_search import RandomSearch
from crdiff.search.strategies.space import Space

SPACE = Space.vary(AXES, fixed=START)
LEVEL = {axis: (high - low) / 14 for axis, (low, high) in SPACE.bounds.items()}


def score(point):
    return hill(point, "a cat", 1)


def searched(strategy, count=48):
    """The proposals of a whole search, and the best score."""
    proposals = []
    for _ in range(count):
        proposals.append(strategy.ask())
        strategy.tell(proposals[-1], score(proposals[-1].point))
    return proposals, max(score(one.point) for one in proposals)


def levels_moved(parent, child):
    """By how many levels each axis differs."""
    return [round((child[axis] - parent[axis]) / LEVEL[axis], 6) for axis in AXES]


def test_children_are_one_move_from_one_of_the_best_four():
    proposals, _ = searched(Evolution(SPACE, [START, DENSE], seed=3))
    assert [one.kind for one in proposals] == ["seed"] * 2 + ["sample"] * 6 + ["child"] * 40
    switched = 0
    for number, child in enumerate(proposals[8:], start=8):
        before = sorted((one.point for one in proposals[:number]), key=score, reverse=True)
        on_levels = [SPACE.at([round(14 * (SPACE.clip(point)[axis] - low) / (high - low)) / 14
                               for axis, (low, high) in SPACE.bounds.items()]) for point in before[:4]]  # fmt: skip
        moves = [[move for move in levels_moved(parent, child.point) if move] for parent in on_levels]
        fitting = [move for move in moves if len(move) == 1 or (len(move) == 2 and sum(move) == pytest.approx(0.0))]
        assert any(max(map(abs, move)) <= 3 for move in fitting), moves
        switched += all(len(move) != 1 for move in fitting)
        assert child.threshold == pytest.approx(score(before[3]))
    assert 10 < switched < 30


def test_it_climbs_where_random_only_looks():
    best = [(searched(Evolution(SPACE, [START], n))[1], searched(RandomSearch(SPACE, [START], n))[1]) for n in range(8)]
    assert sum(ours - others for ours, others in best) / len(best) > 0.02


def test_it_goes_on_from_its_state_and_never_asks_for_the_same_twice():
    whole, _ = searched(Evolution(SPACE, [START], seed=5))
    assert len({str(one.point) for one in whole[8:]}) == 40
    first = Evolution(SPACE, [START], seed=5)
    searched(first, 20)
    again = Evolution(SPACE, [START], seed=5)
    again.restore(json.loads(json.dumps(first.state())))
    assert searched(again, 28)[0] == whole[20:]
    with pytest.raises(SettingsError, match="not the state of a search by evolution"):
        again.restore({"told": [[{"down": 0.1}, 0.5]]})


def test_what_is_cut_short_is_no_survivor_and_one_axis_is_enough():
    strategy = Evolution(Space.vary(["k"], fixed=Point(0.3, 0.3, 0.3, 1.5)), [START], seed=1)
    for number in range(30):
        proposal = strategy.ask()
        assert proposal.point.ratios == START.ratios and 1.0 <= proposal.point.k <= 2.5
        cut = number > 8 and proposal.threshold is not None
        survives = strategy.tell(proposal, None if cut else score(proposal.point))
        assert not (cut and survives)


def test_over_stages_levels_are_switched_between_stages():
    space = Space.vary(AXES, fixed=START, stages=3, k_by_stage=True)
    strategy = Evolution(space, [START, DENSE], seed=2)
    switched = 0
    for number in range(40):
        proposal = strategy.ask()
        if proposal.kind == "child":
            parents = [parent for parent, _ in strategy._survivors(strategy._told)]
            placed = [strategy._at(strategy._levels(parent)) for parent in parents]
            moves = [{axis for axis in space.axes if one[axis] != proposal.point[axis]} for one in placed]
            least = min(moves, key=len)
            assert len(least) == 1 or len({axis.rstrip("23") for axis in least}) == 1, least
            switched += len(least) == 2
        assert number < 2 or len(proposal.point.stages) == 3
        strategy.tell(proposal, score(proposal.point))
    assert 8 < switched < 26
