"""Simulated annealing (paper supplement 8, Algorithm 1), as the authors run it, with their constants.

A score is the negative of the paper's energy. The state of the walk is a frozen value, and each step a function from
one state to the next, so that any part of the program can replay a walk from the scores alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from statistics import pstdev
from typing import Any, ClassVar

from crdiff import checks
from crdiff.errors import SettingsError
from crdiff.search.strategies.point import START, Point
from crdiff.search.strategies.space import Space
from crdiff.search.strategies.strategy import Options, Proposal, check_pending, check_seed, rng


@dataclass(frozen=True)
class Schedule:
    """The constants of Algorithm 1 (names of the paper in brackets) and of the authors' stagnation rules.

    Attributes:
        temperature: at the start and after a restart (T_init).
        cooling: the temperature is multiplied by it in every iteration (alpha).
        iterations: neighbours to try (N_iter); seeds and restart points come on top.
        restarts: the most there can be (R_max).
        step: largest change of a ratio at T_init; it shrinks with the temperature.
        least_step: and does not fall below this.
        patience: share of the iterations that may pass without a new best; five at least.
        reheats: the most there can be; restarts come after them.
        reheating: a reheat multiplies the temperature by it.
        reheat_above: reheats happen only once the best score has passed this.
        leap: a restart point is a neighbour of the best with ``step`` times this.
        relative: whether temperatures count in standard deviations of the first scores, whatever the score's scale.
    """

    temperature: float = 0.1
    cooling: float = 0.95
    iterations: int = 120
    restarts: int = 2
    step: float = 0.10
    least_step: float = 0.005
    patience: float = 0.2
    reheats: int = 3
    reheating: float = 1.5
    reheat_above: float = 0.8
    leap: float = 3.0
    relative: bool = False

    @classmethod
    def at(cls, temperature: float | None, iterations: int | None) -> Schedule:
        """With what users can set: 0 takes the temperature from the first scores, None the authors' constants."""
        iterations = cls.iterations if iterations is None else iterations
        if temperature == 0.0:
            return cls(1.0, iterations=iterations, relative=True)
        return cls(cls.temperature if temperature is None else temperature, iterations=iterations)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON; what earlier versions did not have is named only where it is set."""
        return {name: value for name, value in asdict(self).items() if name != "relative" or value}

    def __post_init__(self) -> None:
        for entry in fields(self):
            if entry.type == "bool":
                continue
            check = checks.integer if entry.type == "int" else checks.number
            check(f"Annealing: {entry.name}", getattr(self, entry.name), **_LIMITS.get(entry.name, {"low": 0}))

    @property
    def patience_iterations(self) -> int:
        """Iterations without a new best after which the walk is reheated or restarted."""
        return max(5, int(self.iterations * self.patience))


FIRST_SCORES = 6
"""That a relative temperature takes its unit from."""
_POSITIVE: Mapping[str, Any] = {"low": 0, "low_open": True}
_LIMITS: Mapping[str, Mapping[str, Any]] = {
    "temperature": _POSITIVE,
    "cooling": {**_POSITIVE, "high": 1},
    "iterations": {"low": 1},
    "step": {**_POSITIVE, "high": 1},
    "least_step": {"low": 0, "high": 1},
    "reheating": {"low": 1},
    "reheat_above": {},
    "leap": _POSITIVE,
}


def iterations_for(evaluations: int | None) -> int:
    """The iterations of a search with this budget: the authors' 120, or more where the budget allows for more."""
    return max(Schedule.iterations, evaluations or 0)


@dataclass(frozen=True)
class Walk:
    """Where the annealing stands.

    Attributes:
        phase: ``seeds``, ``walk``, ``restart`` (its point is to be scored next) or ``done``.
        seeds: starting points scored.
        iteration: neighbours scored (i).
        temperature: T.
        current: S_curr; None before the first seed.
        current_score: minus E_curr.
        best: S_best.
        best_score: minus E_best.
        stale: iterations since the last new best.
        reheats: so far.
        restarts: so far (C_restart).
        relative: see Schedule.
        first: the first few scores, where the temperature is relative to their spread.
    """

    temperature: float
    phase: str = "seeds"
    seeds: int = 0
    iteration: int = 0
    current: Point | None = None
    current_score: float = -math.inf
    best: Point | None = None
    best_score: float = -math.inf
    stale: int = 0
    reheats: int = 0
    restarts: int = 0
    relative: bool = False
    first: tuple[float, ...] = ()

    @classmethod
    def begin(cls, schedule: Schedule) -> Walk:
        """Before the first seed."""
        return cls(schedule.temperature, relative=schedule.relative)

    @property
    def unit(self) -> float:
        """Of the temperature: 1, or the standard deviation of the first scores; 0 before there are two."""
        if not self.relative:
            return 1.0
        return pstdev(self.first) if len(self.first) > 1 else 0.0


def neighbour(space: Space, schedule: Schedule, point: Point, temperature: float, seed: int, number: int) -> Point:
    """GenerateNeighbor of Algorithm 1: one axis moves by uniform(-s, s), s = max(0.005, 0.10 * T / T_init).

    A starting point outside the bounds, such as the dense model, is first moved to the nearest point inside.
    """
    numbers = rng(seed, number)
    axis = space.axes[int(numbers.random() * len(space.axes))]
    size = max(schedule.least_step, schedule.step * temperature / schedule.temperature) * space.step(axis)
    inside = space.clip(point)
    low, high = space.bounds[axis]
    moved = inside[axis] + size * (2.0 * numbers.random() - 1.0)
    return space.clip(inside.moved(axis, min(high, max(low, moved))))


def threshold(walk: Walk, seed: int, number: int) -> float:
    """The score a neighbour must exceed to be accepted.

    u < exp(gain / T) is the same as score > current + T * ln(u). Drawing u before the score is known gives the same
    walk, and tells when an evaluation can be cut short. ln(u) <= 0, so that a better score is always accepted.
    """
    numbers = rng(seed, number)
    numbers.random(), numbers.random()  # those of the neighbour
    u = numbers.random()
    return walk.current_score + walk.temperature * walk.unit * math.log(u) if u > 0.0 else -math.inf


def advance(schedule: Schedule, starts: int, walk: Walk, point: Point, score: float | None, limit: float) -> Walk:
    """The walk after ``point`` was scored; None is a score that does not exceed the threshold ``limit``."""
    if walk.relative and score is not None and len(walk.first) < FIRST_SCORES:
        walk = replace(walk, first=(*walk.first, score))
    accepted = score is not None and (walk.phase == "restart" or score > limit)
    if accepted and score is not None:
        walk = replace(walk, current=point, current_score=score)
    improved = walk.current_score > walk.best_score
    if improved:
        walk = replace(walk, best=walk.current, best_score=walk.current_score)
    if walk.phase == "seeds":
        seeds = walk.seeds + 1
        return replace(walk, seeds=seeds, phase="walk" if seeds == starts else "seeds")
    if walk.phase == "restart":
        return replace(walk, phase="walk", temperature=schedule.temperature)
    walk = replace(
        walk,
        iteration=walk.iteration + 1,
        temperature=walk.temperature * schedule.cooling,
        stale=0 if improved else walk.stale + 1,
    )
    return _after_iteration(schedule, walk)


def _after_iteration(schedule: Schedule, walk: Walk) -> Walk:
    if walk.iteration >= schedule.iterations:
        return replace(walk, phase="done")
    if walk.stale < schedule.patience_iterations:
        return walk
    if walk.best_score > schedule.reheat_above and walk.reheats < schedule.reheats:
        warmer = walk.temperature * schedule.reheating
        return replace(walk, temperature=warmer, reheats=walk.reheats + 1, stale=0)
    if walk.restarts < schedule.restarts:
        return replace(walk, phase="restart", restarts=walk.restarts + 1, stale=0)
    return replace(walk, phase="done")


class SimulatedAnnealing:
    """Algorithm 1 as a strategy.

    Args:
        space: what may be varied.
        starts: the candidate seeds S_seeds, such as a preset and the dense model; they may lie outside the bounds.
        seed: of the random numbers.
        schedule: the constants.
    """

    name: ClassVar[str] = "annealing"

    def __init__(
        self, space: Space, starts: Sequence[Point] = (START,), seed: int = 0, schedule: Schedule | None = None
    ) -> None:
        if not starts:
            raise SettingsError("Annealing needs at least one starting point.")
        self.space = space
        self.starts = tuple(starts)
        self.seed = check_seed(seed)
        self.schedule = schedule or Schedule()
        self.walk = Walk.begin(self.schedule)
        self._number = 0

    @staticmethod
    def problem() -> str | None:
        return None

    @classmethod
    def create(cls, space: Space, starts: Sequence[Point], options: Options) -> SimulatedAnnealing:
        return cls(space, starts, options.seed, Schedule.at(options.temperature, options.iterations))

    def settings(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "seed": self.seed,
            "starts": [point.to_dict() for point in self.starts],
            "schedule": self.schedule.to_dict(),
        }

    def ask(self) -> Proposal | None:
        walk, number = self.walk, self._number
        if walk.phase == "done":
            return None
        if walk.phase == "seeds":
            limit = walk.current_score if walk.seeds else None
            return Proposal(number, self.starts[walk.seeds], "seed", limit, walk.current)
        if walk.phase == "restart":
            assert walk.best is not None
            heat = self.schedule.temperature * self.schedule.leap
            return Proposal(number, neighbour(self.space, self.schedule, walk.best, heat, self.seed, number), "restart")
        assert walk.current is not None
        point = neighbour(self.space, self.schedule, walk.current, walk.temperature, self.seed, number)
        return Proposal(number, point, "neighbour", threshold(walk, self.seed, number), walk.current)

    def tell(self, proposal: Proposal, score: float | None) -> bool:
        check_pending(self.ask(), proposal, score)
        before = self.walk
        limit = -math.inf if proposal.threshold is None else proposal.threshold
        self.walk = advance(self.schedule, len(self.starts), before, proposal.point, score, limit)
        self._number += 1
        return score is not None and (before.phase == "restart" or score > limit)

    def state(self) -> dict[str, Any]:
        walk = asdict(self.walk)
        for name, point in (("current", self.walk.current), ("best", self.walk.best)):
            walk[name] = None if point is None else point.to_dict()
        for name in ("current_score", "best_score"):  # JSON has no infinity
            walk[name] = None if walk[name] == -math.inf else walk[name]
        return {"number": self._number, "walk": walk}

    def restore(self, state: Mapping[str, Any]) -> None:
        try:
            values = dict(state["walk"])
            for name in ("current", "best"):
                values[name] = None if values[name] is None else Point.from_dict(values[name])
            for name in ("current_score", "best_score"):
                values[name] = -math.inf if values[name] is None else float(values[name])
            values["first"] = tuple(map(float, values.get("first", ())))
            walk, number = Walk(**values), int(state["number"])
        except (KeyError, TypeError, ValueError) as error:
            raise SettingsError(f"This is not the state of an annealing run ({error}).") from None
        self.walk, self._number = walk, number

    def status(self) -> dict[str, float]:
        walk = self.walk
        return {
            "iteration": walk.iteration,
            "iterations": self.schedule.iterations,
            "temperature": walk.temperature * walk.unit,
            "reheats": walk.reheats,
            "restarts": walk.restarts,
        }
