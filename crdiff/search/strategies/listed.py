"""Given configurations and no others: to measure them, for whoever searches elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crdiff.errors import SettingsError
from crdiff.search.space import Point
from crdiff.search.strategies.strategy import Proposal, check_answer


class Listed:
    """The starting points, each in full, and then the end."""

    name = "listed"

    def __init__(self, starts: Sequence[Point]) -> None:
        if not starts:
            raise SettingsError("The strategy listed needs at least one starting point.")
        self.starts = tuple(starts)
        self._number = 0

    def settings(self) -> dict[str, Any]:
        return {"name": self.name, "starts": [point.to_dict() for point in self.starts]}

    def ask(self) -> Proposal | None:
        if self._number == len(self.starts):
            return None
        return Proposal(self._number, self.starts[self._number], "seed")

    def tell(self, proposal: Proposal, score: float | None) -> bool:
        check_answer(self.ask(), proposal, score)
        self._number += 1
        return True

    def state(self) -> dict[str, Any]:
        return {"number": self._number}

    def restore(self, state: Mapping[str, Any]) -> None:
        number = state.get("number")
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= len(self.starts):
            raise SettingsError(f"This is not the state of a list of configurations ({number!r}).")
        self._number = number

    def status(self) -> dict[str, float]:
        return {"listed": self._number}
