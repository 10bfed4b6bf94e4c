"""Uniform random configurations: the baseline for other strategies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from crdiff.errors import SettingsError
from crdiff.search.strategies.point import START, Point
from crdiff.search.strategies.space import Space
from crdiff.search.strategies.strategy import Options, Proposal, check_pending, check_seed, rng

KEPT = 4
"""Configurations that are always scored in full."""


class RandomSearch:
    """The starting points, then uniform samples of the space without end."""

    name: ClassVar[str] = "random"

    def __init__(self, space: Space, starts: Sequence[Point] = (START,), seed: int = 0) -> None:
        self.space = space
        self.starts = tuple(starts)
        self.seed = check_seed(seed)
        self._number = 0
        self._best: list[tuple[float, Point]] = []

    @staticmethod
    def problem() -> str | None:
        return None

    @classmethod
    def create(cls, space: Space, starts: Sequence[Point], options: Options) -> RandomSearch:
        return cls(space, starts, options.seed)

    def settings(self) -> dict[str, Any]:
        return {"name": self.name, "seed": self.seed, "starts": [point.to_dict() for point in self.starts]}

    def ask(self) -> Proposal | None:
        # Only the best few matter: they are compared with one another at the end.
        limit, last = self._best[-1] if len(self._best) == KEPT else (None, None)
        if self._number < len(self.starts):
            return Proposal(self._number, self.starts[self._number], "seed", limit, last)
        kind, point = self.next_of(self._number, [(point, score) for score, point in self._best])
        return Proposal(self._number, point, kind, limit, last)

    def next_of(
        self, number: int, told: Sequence[tuple[Point, float | None]], running: Sequence[Point] = ()
    ) -> tuple[str, Point]:
        numbers = rng(self.seed, number)
        return "sample", self.space.at([numbers.random() for _ in self.space.axes])

    def tell(self, proposal: Proposal, score: float | None) -> bool:
        check_pending(self.ask(), proposal, score)
        self._number += 1
        if score is None:
            return False
        self._best = sorted([*self._best, (score, proposal.point)], key=lambda one: -one[0])[:KEPT]
        return self._best[0][1] is proposal.point

    def state(self) -> dict[str, Any]:
        return {"number": self._number, "best": [[score, point.to_dict()] for score, point in self._best]}

    def restore(self, state: Mapping[str, Any]) -> None:
        try:
            number = int(state["number"])
            best = [(float(score), Point.from_dict(point)) for score, point in state["best"]]
        except (KeyError, TypeError, ValueError) as error:
            raise SettingsError(f"This is not the state of a random search ({error}).") from None
        self._number, self._best = number, best

    def status(self) -> dict[str, float]:
        return {"samples": self._number}
