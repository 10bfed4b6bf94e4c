"""The annealing against Algorithm 1, written a second time from the method's text, with energies as in the paper."""

from __future__ import annotations

import json
import math
from statistics import pstdev

import pytest
from problems import hill

from crdiff.errors import SettingsError
from crdiff.method.groups import Ratios
from crdiff.search.strategies.annealing import Schedule, SimulatedAnnealing
from crdiff.search.strategies.optuna_samplers import Tpe
from crdiff.search.strategies.point import DENSE, START, Point
from crdiff.search.strategies.random_search import RandomSearch
from crdiff.search.strategies.registry import available, make
from crdiff.search.strategies.space import Space
from crdiff.search.strategies.strategy import Options, rng

T_INIT, ALPHA, N_ITER, R_MAX = 0.1, 0.95, 120, 2
LOW, HIGH = 0.1, 0.8


def algorithm_1(evaluate, s_seeds, seed, n_iter=N_ITER):
    """Every configuration evaluated, with whether it became the current one; and the best."""
    count = 0
    trace = []

    def numbers():
        nonlocal count
        numbers = rng(seed, count)
        count += 1
        return numbers.random(), numbers.random(), numbers.random()

    def generate_neighbor(r, t, which, how_far):
        r = [min(HIGH, max(LOW, value)) for value in r]
        s = max(0.005, 0.10 * t / T_INIT)
        place = int(which * 3)
        r[place] = min(HIGH, max(LOW, r[place] + s * (2 * how_far - 1)))
        return tuple(r)

    e_curr = math.inf
    for s in s_seeds:
        numbers()
        e = evaluate(s)
        trace.append((s, e < e_curr))
        if e < e_curr:
            s_curr, e_curr = s, e
    s_best, e_best = s_curr, e_curr
    t, c_restart, c_reheat, without_best = T_INIT, 0, 0, 0
    patience = max(5, int(0.20 * n_iter))
    for i in range(1, n_iter + 1):
        which, how_far, u = numbers()
        s_neighbor = generate_neighbor(s_curr, t, which, how_far)
        e_neighbor = evaluate(s_neighbor)
        accepted = e_neighbor < e_curr or math.exp(-(e_neighbor - e_curr) / t) > u
        trace.append((s_neighbor, accepted))
        if accepted:
            s_curr, e_curr = s_neighbor, e_neighbor
        without_best += 1
        if e_curr < e_best:
            s_best, e_best = s_curr, e_curr
            without_best = 0
        t = ALPHA * t
        if without_best < patience or i == n_iter:
            continue
        if -e_best > 0.8 and c_reheat < 3:
            t, c_reheat, without_best = 1.5 * t, c_reheat + 1, 0
        elif c_restart < R_MAX:
            which, how_far, _ = numbers()
            s_curr = generate_neighbor(s_best, 3 * T_INIT, which, how_far)
            e_curr = evaluate(s_curr)
            trace.append((s_curr, True))
            if e_curr < e_best:
                s_best, e_best = s_curr, e_curr
            t, c_restart, without_best = T_INIT, c_restart + 1, 0
        else:
            break
    return trace, s_best, {"reheats": c_reheat, "restarts": c_restart, "iteration": i}


def walked(strategy, score):
    """The same of a strategy."""
    trace = []
    best = (-math.inf, None)
    while (proposal := strategy.ask()) is not None:
        assert strategy.ask() == proposal
        found = score(proposal.point)
        trace.append((tuple(proposal.point.ratios), strategy.tell(proposal, found)))
        best = max(best, (found, tuple(proposal.point.ratios)), key=lambda pair: pair[0])
    return trace, best[1]


def one(point):
    return hill(point, "a cat", 1)


SCORES = {
    "a hill above 0.8": one,
    "a hill below 0.8": lambda point: 0.5 * one(point),
    "nothing to climb": lambda point: 0.0,
    "only failures": lambda point: -2.0,
    "ragged": lambda point: math.sin(1e4 * sum(point.ratios)),
}


@pytest.mark.parametrize("starts", [[START], [DENSE, START, Point(0.4, 0.2, 0.6)], [DENSE]], ids=["1", "3", "dense"])
@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("n_iter", [1, 20, 120])
def test_it_is_algorithm_1(name, starts, n_iter):
    score = SCORES[name]
    for seed in range(3):
        strategy = SimulatedAnnealing(Space(), starts, seed, Schedule(iterations=n_iter))
        trace, best = walked(strategy, score)
        expected, expected_best, counts = algorithm_1(
            lambda r: -score(Point(*r)), [tuple(start.ratios) for start in starts], seed, n_iter
        )
        assert trace == expected
        assert best == expected_best
        assert {key: strategy.status()[key] for key in counts} == counts


def test_reheats_and_restarts_happen_in_these_tests():
    counts = []
    for name in ("ragged", "nothing to climb"):
        strategy = SimulatedAnnealing(Space(), [START], 0)
        walked(strategy, SCORES[name])
        counts.append((strategy.status()["reheats"], strategy.status()["restarts"]))
    assert counts == [(3, 0), (0, 2)]


def test_the_constants_are_the_authors():
    schedule = Schedule()
    assert (schedule.temperature, schedule.cooling, schedule.iterations, schedule.restarts) == (0.1, 0.95, 120, 2)
    assert (schedule.step, schedule.least_step, schedule.reheats, schedule.reheating) == (0.10, 0.005, 3, 1.5)
    assert (schedule.reheat_above, schedule.leap, schedule.patience_iterations) == (0.8, 3.0, 24)
    assert tuple(START.ratios) == (0.3, 0.3, 0.3)
    assert Space().bounds == dict.fromkeys(("down", "mid", "up"), (0.1, 0.8))


@pytest.mark.parametrize("axes", [("down", "mid", "up"), ("up",), ("mid", "k"), ("down", "mid", "up", "k")])
def test_neighbours_stay_inside_and_change_one_free_axis(axes):
    space = Space.vary(axes, fixed=Point(0.2, 0.25, 0.35, 1.25))
    strategy = SimulatedAnnealing(space, [space.at([0.5] * len(axes))], 3)
    changed = set()
    current = strategy.ask().point
    while (proposal := strategy.ask()) is not None:
        found = {axis for axis in ("down", "mid", "up", "k") if proposal.point[axis] != current[axis]}
        assert len(found) <= 1
        assert found <= set(axes)
        changed |= found
        assert space.clip(proposal.point) == proposal.point
        if strategy.tell(proposal, one(proposal.point)):
            current = proposal.point
        if strategy.walk.phase == "restart":
            current = strategy.walk.best
    assert changed == set(axes)


@pytest.mark.parametrize("name", available())
def test_axes_that_are_not_varied_keep_their_values(name):
    held = Point(0.482, 0.396, 0.469, 1.25)
    axes = ["up", "k"]  # CMA-ES needs two
    strategy = make(name, Space.vary(axes, fixed=held), [held, DENSE])
    proposed = []
    while len(proposed) < 40 and (proposal := strategy.ask()) is not None:
        proposed.append(proposal.point)
        strategy.tell(proposal, one(proposal.point))
    assert {(point.down, point.mid) for point in proposed if point != DENSE} == {(0.482, 0.396)}
    assert len({(point.up, point.k) for point in proposed}) > 20


def test_steps_shrink_with_the_temperature_to_the_least_step():
    space = Space.vary(["mid"], fixed=START, ratios=(0.0, 0.99))
    schedule = Schedule(iterations=200, patience=1.0)
    strategy = SimulatedAnnealing(space, [space.at([0.5])], 1, schedule)
    steps = []
    middle = strategy.ask().point.mid
    while (proposal := strategy.ask()) is not None:
        steps.append(abs(proposal.point.mid - middle))
        strategy.tell(proposal, -1.0 if steps[1:] else 1.0e6)
    sizes = [max(0.005, 0.10 * 0.95**i) for i in range(200)]
    assert all(step <= size for step, size in zip(steps[1:], sizes, strict=True))
    assert max(steps[1:20]) > 0.03
    assert 0.004 < max(steps[-100:]) <= 0.005


@pytest.mark.parametrize("make", [SimulatedAnnealing, RandomSearch, Tpe])
def test_any_state_goes_on_as_if_nothing_had_happened(make):
    def fresh():
        return make(Space(), [DENSE, START], 7)

    strategy = fresh()
    for _ in range(100 if make is not Tpe else 12):
        proposal = strategy.ask()
        if proposal is None:
            break
        other = fresh()
        other.restore(json.loads(json.dumps(strategy.state(), allow_nan=False)))
        assert other.ask() == proposal
        assert other.state() == strategy.state()
        assert other.tell(proposal, one(proposal.point)) == strategy.tell(proposal, one(proposal.point))


def test_the_proposals_are_these_on_every_machine():
    """Written down once: a change of Python, or of the code, must not lead a resumed search elsewhere."""
    strategy = SimulatedAnnealing(Space(), [START], 42)
    trace, best = walked(strategy, one)
    assert [round(value, 12) for value in trace[1][0]] == FIRST_NEIGHBOUR
    assert [round(value, 12) for value in best] == BEST


FIRST_NEIGHBOUR = [0.3, 0.3, 0.25700577445]
BEST = [0.306691542484, 0.235808565333, 0.484412827102]


@pytest.mark.parametrize("state", [{}, {"walk": 3, "number": 1}, {"walk": {"current": 1}, "number": 0}, {"told": "x"}])
@pytest.mark.parametrize("make", [SimulatedAnnealing, RandomSearch, Tpe])
def test_a_bad_state_changes_nothing(make, state):
    strategy = make(Space(), [START], 1)
    before = strategy.state()
    with pytest.raises(SettingsError, match=r"^This is not the state of .*\.$"):
        strategy.restore(state)
    assert strategy.state() == before


@pytest.mark.parametrize("make", [SimulatedAnnealing, RandomSearch])
def test_a_score_must_be_that_of_the_pending_proposal(make):
    strategy = make(Space(), [START], 1)
    first = strategy.ask()
    for score in (None, math.nan, math.inf):
        with pytest.raises(SettingsError, match=r"score"):
            strategy.tell(first, score)
    strategy.tell(first, 0.5)
    with pytest.raises(SettingsError, match=r"not the pending one\.$"):
        strategy.tell(first, 0.5)
    while (pending := strategy.ask()).threshold is None:
        strategy.tell(pending, 0.25)
    assert strategy.tell(pending, None) is False


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"iterations": 0}, "iterations"),
        ({"iterations": 1.5}, "iterations"),
        ({"temperature": 0}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"cooling": 1.01}, "cooling"),
        ({"restarts": -1}, "restarts"),
        ({"step": True}, "step"),
        ({"leap": "3"}, "leap"),
        ({"reheat_above": math.inf}, "reheat_above"),
    ],
)
def test_a_bad_constant_is_named(values, name):
    with pytest.raises(SettingsError, match=rf"^Annealing: {name} must .*\.$"):
        Schedule(**values)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Space({}), "something to vary"),
        (lambda: Space({"left": (0.1, 0.8)}), "not 'left'"),
        (lambda: Space({"down": (0.8, 0.1)}), "lower bound of down"),
        (lambda: Space({"down": (0.1, 1.0)}), "upper bound of down"),
        (lambda: Space({"k": (0.5, 3.5)}), "upper bound of k"),
        (lambda: Space({"up": 0.5}), "bounds of up"),
        (lambda: Space({"up": "08"}), "bounds of up"),
        (lambda: Point(0.1, 0.1, 1.0), "^up must"),
        (lambda: Point(0.1, 0.1, 0.1, math.nan), "^k must"),
        (lambda: Point.from_dict({"down": 0.1}), "has the keys"),
        (lambda: SimulatedAnnealing(Space(), []), "starting point"),
        (lambda: SimulatedAnnealing(Space(), [START], -1), "seed"),
        (lambda: RandomSearch(Space(), [START], True), "seed"),
    ],
)
def test_bad_settings_are_one_sentence(make, sentence):
    with pytest.raises(SettingsError, match=sentence) as refusal:
        make()
    assert str(refusal.value).endswith(".")


def test_a_point_in_json():
    point = Point(0.397, 0.434, 0.387, 1.25)
    assert Point.from_dict(json.loads(json.dumps(point.to_dict()))) == point
    assert point.ratios == Ratios(0.397, 0.434, 0.387)
    assert str(point) == "0.397/0.434/0.387, k 1.25"


@pytest.mark.parametrize("scale", [1.0, 0.01])
def test_a_temperature_of_the_first_scores_walks_the_same_on_every_scale(scale):
    walks = []
    for factor, options in ((1.0, Options(3, 40, 0.0)), (scale, Options(3, 40, 0.0))):
        strategy = SimulatedAnnealing.create(Space(), [START], options)
        accepted, scores = [], []
        while len(scores) < 40 and (proposal := strategy.ask()):
            scores.append(factor * 0.02 * ((97 * proposal.number) % 11))  # as good as chance
            accepted.append(strategy.tell(proposal, scores[-1]))
            again = SimulatedAnnealing.create(Space(), [START], options)
            again.restore(json.loads(json.dumps(strategy.state())))
            assert again.ask() == strategy.ask()
            if len(scores) == 6:
                six = pstdev(scores)
        walks.append((accepted, six / factor))
        assert strategy.status()["temperature"] == pytest.approx(strategy.walk.temperature * six)
    assert walks[0] == (walks[1][0], pytest.approx(walks[1][1]))
    # Many steps for the worse would be taken at the authors' temperature.
    assert 3 < sum(walks[0][0]) < 35


def test_journals_of_annealings_with_a_given_temperature_are_what_they_were():
    assert "relative" not in SimulatedAnnealing(Space()).settings()["schedule"]
    assert SimulatedAnnealing.create(Space(), [START], Options(temperature=0.0)).settings()["schedule"]["relative"]
    assert SimulatedAnnealing.create(Space(), [START], Options()).settings()["schedule"]["temperature"] == 0.1
