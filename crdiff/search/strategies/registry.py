"""The strategies by name; a new one is added to the lists here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crdiff import checks
from crdiff.search.strategies.annealing import SimulatedAnnealing
from crdiff.search.strategies.cmaes import CmaEs
from crdiff.search.strategies.evolution import Evolution
from crdiff.search.strategies.nearby import NearbySearch
from crdiff.search.strategies.optuna_samplers import GaussianProcess, Tpe
from crdiff.search.strategies.point import Point
from crdiff.search.strategies.points_to_evaluate import PointsToEvaluate
from crdiff.search.strategies.random_search import RandomSearch
from crdiff.search.strategies.space import Space
from crdiff.search.strategies.strategy import Options, Strategy


def _by_name(*strategies: type[Strategy]) -> Mapping[str, type[Strategy]]:
    return {strategy.name: strategy for strategy in strategies}


STRATEGIES = _by_name(SimulatedAnnealing, Evolution, NearbySearch, RandomSearch, CmaEs, Tpe, GaussianProcess)
"""Those a user can choose."""

_FOR_PROGRAMS = _by_name(PointsToEvaluate)

DEFAULT_STRATEGY = SimulatedAnnealing.name


def make(name: str, space: Space, starts: Sequence[Point], options: Options | None = None) -> Strategy:
    """The strategy of this name, in its initial state.

    Raises:
        SettingsError: there is none of this name, or it cannot search this space.
        MissingPackageError: its package is not installed.
    """
    strategy = _FOR_PROGRAMS.get(name) or STRATEGIES[checks.choice("A search's strategy", name, STRATEGIES)]
    return strategy.create(space, starts, options or Options())


def available() -> tuple[str, ...]:
    """The names of the strategies that this installation can use."""
    return tuple(name for name, strategy in STRATEGIES.items() if strategy.problem() is None)
