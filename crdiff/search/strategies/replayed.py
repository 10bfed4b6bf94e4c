"""What strategies share whose state is the scores told so far: told them again, they propose the same again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from crdiff.errors import SettingsError
from crdiff.search.strategies.point import Point
from crdiff.search.strategies.strategy import Proposal, check_pending


class Replayed(ABC):
    """The starting points, then what another package's optimizer proposes.

    Attributes:
        starts: proposed first.
    """

    name: ClassVar[str]
    starts: tuple[Point, ...]
    _told: list[float]
    _pending: Proposal | None

    def _clear(self) -> None:
        """As before the first score."""
        self._told, self._pending = [], None

    @abstractmethod
    def _sample(self, number: int) -> Proposal | None:
        """The proposal after the starting points; None if the optimizer has ended."""

    @abstractmethod
    def _learn(self, score: float) -> None:
        """The score of the last sample."""

    def ask(self) -> Proposal | None:
        if self._pending is None:
            number = len(self._told)
            seeding = number < len(self.starts)
            self._pending = Proposal(number, self.starts[number], "seed") if seeding else self._sample(number)
        return self._pending

    def tell(self, proposal: Proposal, score: float | None) -> bool:
        check_pending(self.ask(), proposal, score)
        assert score is not None
        best = not self._told or score > max(self._told)
        self._take(score)
        return best

    def _take(self, score: float) -> None:
        self._told.append(score)
        self._pending = None
        if len(self._told) > len(self.starts):
            self._learn(score)

    def state(self) -> dict[str, Any]:
        return {"told": list(self._told)}

    def restore(self, state: Mapping[str, Any]) -> None:
        try:
            told = [float(score) for score in state["told"]]
        except (KeyError, TypeError, ValueError) as error:
            raise SettingsError(f"This is not the state of a search by {self.name} ({error}).") from None
        self._clear()
        for score in told:
            self.ask()
            self._take(score)

    def status(self) -> dict[str, float]:
        return {"samples": len(self._told)}
