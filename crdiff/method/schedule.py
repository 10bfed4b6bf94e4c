"""The part of the schedule in which CR-Diff acts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Position:
    """Where a denoiser call stands in the schedule.

    Attributes:
        step: index of the call, from 0.
        total: number of calls expected; samplers with an adaptive step count may go past it.
    """

    step: int
    total: int

    @property
    def fraction(self) -> float:
        """Progress in [0, 1); 0 for the first call, also of a one-step schedule."""
        return min(max(self.step, 0) / max(self.total, 1), 1.0 - 1e-9)


@dataclass(frozen=True)
class StepWindow:
    """Fractions of the schedule, from ``start`` inclusive to ``end`` exclusive (1 covers the last step)."""

    start: float = 0.0
    end: float = 1.0

    def __contains__(self, position: Position) -> bool:
        return self.start <= position.fraction < self.end
