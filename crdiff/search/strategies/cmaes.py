"""CMA-ES through the optional package ``cmaes`` (Nomura and Shibata, arXiv 2402.01373)."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, ClassVar

from crdiff.errors import MissingPackageError, SettingsError
from crdiff.search.strategies.point import START, Point
from crdiff.search.strategies.replayed import Replayed
from crdiff.search.strategies.space import Space
from crdiff.search.strategies.strategy import Options, Proposal, check_seed

_SIGMA = 0.2


class CmaEs(Replayed):
    """The starting points, then CMA-ES from the best of them.

    The package keeps its own state in private attributes, and telling it a few hundred scores again takes milliseconds.

    Raises:
        MissingPackageError: ``cmaes`` is not installed.
        SettingsError: fewer than two axes are varied.
    """

    name: ClassVar[str] = "cmaes"

    def __init__(self, space: Space, starts: Sequence[Point] = (START,), seed: int = 0, sigma: float = _SIGMA) -> None:
        if sentence := self.problem():
            raise MissingPackageError(sentence)
        if len(space.axes) < 2:
            raise SettingsError("The strategy cmaes needs at least two things to vary; take annealing for one.")
        if not starts:
            raise SettingsError("The strategy cmaes needs at least one starting point.")
        self.space = space
        self.starts = tuple(starts)
        self.seed = check_seed(seed)
        self.sigma = sigma
        self._clear()

    @staticmethod
    def problem() -> str | None:
        # Only looked for: importing it takes a while, and not every search needs it.
        if find_spec("cmaes") is not None:
            return None
        return "The strategy cmaes needs the Python package cmaes, which is not installed; annealing needs none."

    @classmethod
    def create(cls, space: Space, starts: Sequence[Point], options: Options) -> CmaEs:
        return cls(space, starts, options.seed)

    def _clear(self) -> None:
        super()._clear()
        self._optimizer: Any = None
        self._asked: Any = None
        self._generation: list[tuple[Any, float]] = []

    def settings(self) -> dict[str, Any]:
        starts = [point.to_dict() for point in self.starts]
        return {"name": self.name, "seed": self.seed, "starts": starts, "sigma": self.sigma}

    def _sample(self, number: int) -> Proposal | None:
        if self._optimizer is None:
            self._optimizer = self._make()
        if self._optimizer.should_stop():
            return None
        self._asked = self._optimizer.ask()
        return Proposal(number, self.space.at([float(value) for value in self._asked]), "sample")

    def _make(self) -> Any:
        # Imported here: both are the host's or the user's, and only this strategy needs them.
        import numpy

        best = self.space.clip(self.starts[self._told.index(max(self._told))])
        mean = [(best[axis] - low) / (high - low) for axis, (low, high) in self.space.bounds.items()]
        bounds = numpy.array([[0.0, 1.0]] * len(mean))
        cma = importlib.import_module("cmaes").CMA
        return cma(mean=numpy.array(mean), sigma=self.sigma, bounds=bounds, seed=self.seed)

    def _learn(self, score: float) -> None:
        self._generation.append((self._asked, -score))
        if len(self._generation) == self._optimizer.population_size:
            self._optimizer.tell(self._generation)
            self._generation = []
