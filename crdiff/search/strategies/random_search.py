"""Uniform random configurations, to compare other strategies with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crdiff.errors import SettingsError
from crdiff.search.space import START, Point, Space
from crdiff.search.strategies.strategy import Proposal, check_answer, check_seed, draws


class RandomSearch:
    """The starting points, then uniform samples of the space without end."""

    name = "random"

    def __init__(self, space: Space, starts: Sequence[Point] = (START,), seed: int = 0) -> None:
        self.space = space
        self.starts = tuple(starts)
        self.seed = check_seed(seed)
        self._number = 0
        self._best: float | None = None
        self._leader: Point | None = None

    def settings(self) -> dict[str, Any]:
        return {"name": self.name, "seed": self.seed, "starts": [point.to_dict() for point in self.starts]}

    def ask(self) -> Proposal | None:
        # Only a new best matters.
        if self._number < len(self.starts):
            return Proposal(self._number, self.starts[self._number], "seed", self._best, self._leader)
        luck = draws(self.seed, self._number)
        point = self.space.at([luck.random() for _ in self.space.axes])
        return Proposal(self._number, point, "sample", self._best, self._leader)

    def tell(self, proposal: Proposal, score: float | None) -> bool:
        check_answer(self.ask(), proposal, score)
        self._number += 1
        if score is None or (self._best is not None and score <= self._best):
            return False
        self._best, self._leader = score, proposal.point
        return True

    def state(self) -> dict[str, Any]:
        leader = self._leader.to_dict() if self._leader else None
        return {"number": self._number, "best": self._best, "leader": leader}

    def restore(self, state: Mapping[str, Any]) -> None:
        try:
            number, best = int(state["number"]), state["best"]
            best = None if best is None else float(best)
            leader = None if state["leader"] is None else Point.from_dict(state["leader"])
        except (KeyError, TypeError, ValueError) as error:
            raise SettingsError(f"This is not the state of a random search ({error}).") from None
        self._number, self._best, self._leader = number, best, leader

    def status(self) -> dict[str, float]:
        return {"samples": self._number}
