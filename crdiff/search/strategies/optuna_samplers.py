"""Samplers of the optional package ``optuna`` (Akiba et al., arXiv 1907.10902) as strategies."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, ClassVar

from crdiff.errors import MissingPackageError
from crdiff.search.strategies.point import START, Point
from crdiff.search.strategies.replayed import Replayed
from crdiff.search.strategies.space import Space
from crdiff.search.strategies.strategy import Options, Proposal, check_seed, rng

_WITH_GP = (3, 6)
_SEEDS = 2**32


class OptunaSampler(Replayed):
    """The starting points, then what a sampler proposes from all scores so far.

    Raises:
        MissingPackageError: a package is not installed.
    """

    sampler: ClassVar[str]
    """Its class in ``optuna.samplers``."""
    options: ClassVar[Mapping[str, Any]] = {}
    """Of the sampler."""
    packages: ClassVar[tuple[str, ...]] = ("optuna",)

    def __init__(self, space: Space, starts: Sequence[Point] = (START,), seed: int = 0) -> None:
        if sentence := self.problem():
            raise MissingPackageError(sentence)
        self.space = space
        self.starts = tuple(starts)
        self.seed = check_seed(seed)
        self._clear()

    @classmethod
    def problem(cls) -> str | None:
        # Only looked for: importing them takes a while, and not every search needs them.
        missing = [package for package in cls.packages if find_spec(package) is None]
        if not missing:
            return None
        return f"The strategy {cls.name} needs the Python package {missing[0]}, which is not installed."

    @classmethod
    def create(cls, space: Space, starts: Sequence[Point], options: Options) -> OptunaSampler:
        return cls(space, starts, options.seed)

    def _clear(self) -> None:
        super()._clear()
        self._study: Any = None
        self._trial: Any = None

    def settings(self) -> dict[str, Any]:
        return {"name": self.name, "seed": self.seed, "starts": [point.to_dict() for point in self.starts]}

    def _sample(self, number: int) -> Proposal:
        if self._study is None:
            self._study = self._make(self.seed, zip(self.starts, self._told))
        self._trial, point = self._asked(self._study)
        return Proposal(number, point, "sample")

    def next_of(
        self, number: int, told: Sequence[tuple[Point, float | None]], running: Sequence[Point] = ()
    ) -> tuple[str, Point]:
        seed = int(_SEEDS * rng(self.seed, number).random())
        return "sample", self._asked(self._make(seed, [*told, *((point, None) for point in running)]))[1]

    def _asked(self, study: Any) -> tuple[Any, Point]:
        """A new trial of a study in memory, and its configuration."""
        unit = importlib.import_module("optuna").distributions.FloatDistribution(0.0, 1.0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a sampler may change in a later version
            trial = study.ask(dict.fromkeys(self.space.axes, unit))
        return trial, self.space.at([trial.params[axis] for axis in self.space.axes])

    def _make(self, seed: int, told: Iterable[tuple[Point, float | None]]) -> Any:
        """A study in memory that knows the configurations within the bounds; what has no score yet is running."""
        optuna = importlib.import_module("optuna")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sampler = getattr(optuna.samplers, self.sampler)(seed=seed, **self.options)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        unit = optuna.distributions.FloatDistribution(0.0, 1.0)
        for start, score in told:
            inside = self.space.clip(start)
            if inside.merged != start.merged:
                continue
            state = optuna.trial.TrialState.RUNNING if score is None else optuna.trial.TrialState.COMPLETE
            params = {axis: (inside[axis] - low) / (high - low) for axis, (low, high) in self.space.bounds.items()}
            known = dict.fromkeys(self.space.axes, unit)
            trial = optuna.trial.create_trial(state=state, params=params, distributions=known, value=score)
            study.add_trial(trial)
        return study

    def _learn(self, score: float) -> None:
        self._study.tell(self._trial, score)


class Tpe(OptunaSampler):
    """Tree-structured Parzen estimator (Bergstra et al., 2011)."""

    name: ClassVar[str] = "tpe"
    sampler: ClassVar[str] = "TPESampler"
    options: ClassVar[Mapping[str, Any]] = {"constant_liar": True}  # keeps away from what other workers are scoring


class GaussianProcess(OptunaSampler):
    """Bayesian optimisation with a Gaussian process."""

    name: ClassVar[str] = "gp"
    sampler: ClassVar[str] = "GPSampler"
    packages: ClassVar[tuple[str, ...]] = ("optuna", "scipy", "torch")

    @classmethod
    def problem(cls) -> str | None:
        found = super().problem()
        if found is None and tuple(map(int, version("optuna").split(".")[:2])) < _WITH_GP:
            return f"The strategy gp needs the Python package optuna {_WITH_GP[0]}.{_WITH_GP[1]} or later."
        return found
