"""The strategies a user can choose, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from crdiff.errors import SettingsError
from crdiff.search.space import Point, Space
from crdiff.search.strategies import cmaes
from crdiff.search.strategies.annealing import Schedule, SimulatedAnnealing
from crdiff.search.strategies.listed import Listed
from crdiff.search.strategies.random_search import RandomSearch
from crdiff.search.strategies.strategy import Strategy

Maker = Callable[[Space, Sequence[Point], int, "int | None"], Strategy]
"""Makes a strategy for a space, starting points, a seed and, if known, the number of evaluations it will get."""


def _annealing(space: Space, starts: Sequence[Point], seed: int, evaluations: int | None) -> Strategy:
    schedule = Schedule() if evaluations is None else Schedule(iterations=evaluations)
    return SimulatedAnnealing(space, starts, seed, schedule)


STRATEGIES: Mapping[str, Maker] = {
    "annealing": _annealing,
    "random": lambda space, starts, seed, evaluations: RandomSearch(space, starts, seed),
    "cmaes": lambda space, starts, seed, evaluations: cmaes.CmaEs(space, starts, seed),
}
LISTED = "listed"
"""The name of what only measures the starting points, for programs."""
DEFAULT_STRATEGY = "annealing"


def make(name: str, space: Space, starts: Sequence[Point], seed: int = 0, evaluations: int | None = None) -> Strategy:
    """The strategy of this name, in its initial state.

    ``evaluations`` sets the iterations of the annealing (120 by default), and with them its patience; its cooling
    stays the authors'.

    Raises:
        SettingsError: there is none of this name, or it cannot search this space.
        MissingPackageError: its package is not installed.
    """
    if name == LISTED:
        return Listed(starts)
    if name not in STRATEGIES:
        raise SettingsError(f"A search's strategy must be one of {', '.join(STRATEGIES)}, not {name!r}.")
    return STRATEGIES[name](space, starts, seed, evaluations)


def available() -> tuple[str, ...]:
    """The names of the strategies whose packages are installed."""
    return tuple(name for name in STRATEGIES if name != "cmaes" or cmaes.missing() is None)
