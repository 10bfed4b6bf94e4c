"""Given configurations and no others: for programs that search themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from crdiff import checks
from crdiff.errors import SettingsError
from crdiff.search.strategies.point import Point
from crdiff.search.strategies.space import Space
from crdiff.search.strategies.strategy import Options, Proposal, check_pending


class PointsToEvaluate:
    """The starting points, each evaluated in full, and then the end."""

    name: ClassVar[str] = "listed"

    def __init__(self, starts: Sequence[Point]) -> None:
        if not starts:
            raise SettingsError("The strategy listed needs at least one starting point.")
        self.starts = tuple(starts)
        self._number = 0

    @staticmethod
    def problem() -> str | None:
        return None

    @classmethod
    def create(cls, space: Space, starts: Sequence[Point], options: Options) -> PointsToEvaluate:
        return cls(starts)

    def settings(self) -> dict[str, Any]:
        return {"name": self.name, "starts": [point.to_dict() for point in self.starts]}

    def ask(self) -> Proposal | None:
        if self._number == len(self.starts):
            return None
        return Proposal(self._number, self.starts[self._number], "seed")

    def tell(self, proposal: Proposal, score: float | None) -> bool:
        check_pending(self.ask(), proposal, score)
        self._number += 1
        return True

    def state(self) -> dict[str, Any]:
        return {"number": self._number}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._number = checks.integer("The number of measured configurations", state.get("number"), 0, len(self.starts))

    def status(self) -> dict[str, float]:
        return {"listed": self._number}
