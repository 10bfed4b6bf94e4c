"""Uniform random configurations: the baseline for other strategies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from crdiff.errors import SettingsError
from crdiff.search.strategies.point import START, Point
from crdiff.search.strategies.space import Space
from crdiff.search.strategies.strategy import Options, Proposal, check_pending, check_seed, rng


class RandomSearch:
    """The starting points, then uniform samples of the space without end."""

    name: ClassVar[str] = "random"

    def __init__(self, space: Space, starts: Sequence[Point] = (START,), seed: int = 0) -> None:
        self.space = space
        self.starts = tuple(starts)
        self.seed = check_seed(seed)
        self._number = 0
        self._best_score: float | None = None
        self._best: Point | None = None

    @staticmethod
    def problem() -> str | None:
        return None

    @classmethod
    def create(cls, space: Space, starts: Sequence[Point], options: Options) -> RandomSearch:
        return cls(space, starts, options.seed)

    def settings(self) -> dict[str, Any]:
        return {"name": self.name, "seed": self.seed, "starts": [point.to_dict() for point in self.starts]}

    def ask(self) -> Proposal | None:
        # Only a new best matters.
        if self._number < len(self.starts):
            return Proposal(self._number, self.starts[self._number], "seed", self._best_score, self._best)
        numbers = rng(self.seed, self._number)
        point = self.space.at([numbers.random() for _ in self.space.axes])
        return Proposal(self._number, point, "sample", self._best_score, self._best)

    def tell(self, proposal: Proposal, score: float | None) -> bool:
        check_pending(self.ask(), proposal, score)
        self._number += 1
        if score is None or (self._best_score is not None and score <= self._best_score):
            return False
        self._best_score, self._best = score, proposal.point
        return True

    def state(self) -> dict[str, Any]:
        best = self._best.to_dict() if self._best else None
        return {"number": self._number, "best_score": self._best_score, "best": best}

    def restore(self, state: Mapping[str, Any]) -> None:
        try:
            number, score = int(state["number"]), state["best_score"]
            score = None if score is None else float(score)
            best = None if state["best"] is None else Point.from_dict(state["best"])
        except (KeyError, TypeError, ValueError) as error:
            raise SettingsError(f"This is not the state of a random search ({error}).") from None
        self._number, self._best_score, self._best = number, score, best

    def status(self) -> dict[str, float]:
        return {"samples": self._number}
