"""Strategies as Optuna samplers, for many workers in one study; needs the optional package ``optuna``.

A sampler keeps nothing to itself. Where the search stands is computed from the study's completed trials, in the order
of their numbers, and a trial's random numbers come from the seed and its number. So workers can join and die at any
time, and a single worker's study is the very walk of ``SimulatedAnnealing``. With several workers a neighbour is one of
the configuration that was current when its worker asked.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from crdiff.errors import MissingPackageError, SettingsError
from crdiff.search.strategies.annealing import SimulatedAnnealing, Walk, advance, neighbour, threshold
from crdiff.search.strategies.point import AXES, Point, axes_of
from crdiff.search.strategies.space import Space
from crdiff.search.strategies.strategy import Shareable, Strategy
from crdiff.specs import SPECS

try:
    import optuna
except ImportError:
    raise MissingPackageError(
        "A search shared by several workers needs the Python package optuna, which is not installed."
    ) from None
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState

KIND = "crdiff_kind"
_INDEX = "crdiff_seed"


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """The parameters of a study: the axes of every stage, whether varied or not.

    Starting points may lie outside the search's bounds, hence the axes' own ranges.
    """
    ratio, k = FloatDistribution(0.0, math.nextafter(1.0, 0.0)), FloatDistribution(SPECS["k"].low, SPECS["k"].high)
    return {
        axis: k if name == "k" else ratio
        for stage in range(1, space.stages + 1)
        for name, axis in axes_of(stage).items()
    }


@dataclass(frozen=True)
class Standing:
    """Where a shared search stands.

    Attributes:
        accepted: the completed trials by number, and whether the strategy took them.
        done: whether it has come to its end.
        status: figures to show.
    """

    accepted: Mapping[int, bool]
    done: bool
    status: Mapping[str, float]


class StudySampler(optuna.samplers.BaseSampler):
    """A strategy over the parameters ``down``, ``mid``, ``up`` and ``k``, and those of further stages, to maximise.

    Args:
        space: what may be varied.
        starts: the first trials.
        seed: of the random numbers; the same in every worker.
    """

    def __init__(self, space: Space, starts: Sequence[Point], seed: int) -> None:
        self.space, self.starts, self.seed = space, tuple(starts), seed
        self._others = optuna.samplers.RandomSampler(seed)

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What the course of the search depends on besides space, starts and seed, as plain JSON."""

    @abstractmethod
    def standing(self, trials: Sequence[FrozenTrial]) -> Standing:
        """Where the search stands after these trials."""

    @abstractmethod
    def next_of(self, number: int, trials: Sequence[FrozenTrial]) -> tuple[str, Point]:
        """The kind of a trial and its configuration, after all starting points."""

    def point(self, trial: FrozenTrial | optuna.Trial) -> Point:
        """The configuration of a trial; axes its objective did not ask for have their fixed values."""
        fixed = {axis: self.space.fixed[axis] for axis in AXES}
        return Point.of_axes({**fixed, **trial.params}, self.space.stages).merged

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return distributions(self.space)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        trials = study.get_trials(deepcopy=False)
        index = self._start_to_score(trial.number, trials)
        storage, number = study._storage, trial._trial_id  # as Optuna's own samplers do
        if index is not None:
            kind, point = "seed", self.starts[index]
            storage.set_trial_user_attr(number, _INDEX, index)
        else:
            kind, point = self.next_of(trial.number, trials)
        storage.set_trial_user_attr(number, KIND, kind)
        if self.standing(trials).done:
            with suppress(RuntimeError):  # not in study.optimize
                study.stop()
        whole = point.in_stages(self.space.stages)
        return {axis: whole[axis] for axis in search_space}

    def _start_to_score(self, number: int, trials: Sequence[FrozenTrial]) -> int | None:
        """The starting point of this trial: the first ones in turn, then those whose trials failed."""
        if number < len(self.starts):
            return number
        lost = set(range(len(self.starts)))
        for trial in trials:
            if trial.state != TrialState.FAIL:
                lost.discard(trial.user_attrs.get(_INDEX, trial.number))
        return min(lost, default=None)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._others.sample_independent(study, trial, param_name, param_distribution)


class AnnealingSampler(StudySampler):
    """Algorithm 1.

    Args:
        strategy: has the constants, and the candidate seeds S_seeds.
    """

    def __init__(self, strategy: SimulatedAnnealing) -> None:
        super().__init__(strategy.space, strategy.starts, strategy.seed)
        self.schedule = strategy.schedule

    def settings(self) -> dict[str, Any]:
        return {"schedule": self.schedule.to_dict()}

    def standing(self, trials: Sequence[FrozenTrial]) -> Standing:
        walk, accepted = self.replay(trials)
        status = {
            "iteration": walk.iteration,
            "iterations": self.schedule.iterations,
            "temperature": walk.temperature * walk.unit,
            "reheats": walk.reheats,
            "restarts": walk.restarts,
        }
        return Standing(accepted, walk.phase == "done", status)

    def replay(self, trials: Sequence[FrozenTrial]) -> tuple[Walk, dict[int, bool]]:
        """Where the annealing stands after these trials, and which of them were accepted, by number."""
        done = _completed(trials)
        seeds = max(1, sum(trial.number < len(self.starts) for trial in done))
        walk, accepted = Walk.begin(self.schedule), {}
        for trial in done:
            score = float(trial.value or 0.0)
            late = walk.phase == "done" or (walk.phase == "restart" and trial.user_attrs.get(KIND) != "restart")
            if late:  # asked for before the others came to this end
                accepted[trial.number] = False
                if score > walk.best_score:
                    walk = replace(walk, best=self.point(trial), best_score=score)
                continue
            limit = walk.current_score
            if walk.phase == "walk":
                limit = threshold(walk, self.seed, trial.number)
            accepted[trial.number] = walk.phase == "restart" or score > limit
            walk = advance(self.schedule, seeds, walk, self.point(trial), score, limit)
        return walk, accepted

    def next_of(self, number: int, trials: Sequence[FrozenTrial]) -> tuple[str, Point]:
        walk, _ = self.replay(trials)
        heat = walk.temperature
        kind, origin = "neighbour", walk.current or self.starts[0]
        if walk.phase in ("restart", "done") and walk.best is not None:
            kind = "restart" if walk.phase == "restart" else "neighbour"
            origin = walk.best
            heat = self.schedule.temperature * self.schedule.leap if kind == "restart" else heat
        return kind, neighbour(self.space, self.schedule, origin, heat, self.seed, number)


class SharedSampler(StudySampler):
    """A strategy that proposes from what all workers have told, without end.

    Args:
        strategy: in its initial state, in which it stays.
    """

    def __init__(self, strategy: Shareable) -> None:
        super().__init__(strategy.space, strategy.starts, strategy.seed)
        self._strategy = strategy

    def settings(self) -> dict[str, Any]:
        return {"strategy": self._strategy.settings()}

    def standing(self, trials: Sequence[FrozenTrial]) -> Standing:
        accepted, best = {}, -math.inf
        for trial in _completed(trials):
            score = float(trial.value or 0.0)
            accepted[trial.number], best = score > best, max(best, score)
        return Standing(accepted, False, {"samples": len(accepted)})

    def next_of(self, number: int, trials: Sequence[FrozenTrial]) -> tuple[str, Point]:
        told = [(self.point(trial), trial.value) for trial in _completed(trials)]
        others = [trial for trial in trials if trial.state == TrialState.RUNNING and trial.number != number]
        return self._strategy.next_of(number, told, [self.point(trial) for trial in others if self._known(trial)])

    def _known(self, trial: FrozenTrial) -> bool:
        """Whether all of a configuration is stored: Optuna stores one parameter after the other."""
        return len(trial.params) == len(distributions(self.space))


def sampler_for(strategy: Strategy) -> StudySampler:
    """The sampler by which several workers share a strategy's search.

    Raises:
        SettingsError: they cannot.
    """
    if isinstance(strategy, SimulatedAnnealing):
        return AnnealingSampler(strategy)
    if isinstance(strategy, Shareable):
        return SharedSampler(strategy)
    raise SettingsError(f"A search by {strategy.name} cannot be shared by several workers; choose another strategy.")


def _completed(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    done = (trial for trial in trials if trial.state == TrialState.COMPLETE)
    return sorted(done, key=lambda trial: trial.number)
