"""The course of an image's steps: where a denoiser call stands, where CR-Diff acts, and the ratios in force there."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from crdiff.checks import exact
from crdiff.errors import SettingsError
from crdiff.method.groups import GROUPS, Ratios


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

    @property
    def idle(self) -> str:
        """What to say where no step lies within."""
        return f"No step lies between start {exact(self.start)} and end {exact(self.end)}."


@dataclass(frozen=True)
class Stage:
    """A part of the schedule: from the fraction ``start`` on, in [0, 1), these ratios are in force."""

    start: float
    ratios: Ratios


@dataclass(frozen=True)
class Schedule:
    """The pruning ratios over the steps; one stage is the paper's, the same ratios at every step.

    Attributes:
        stages: in the order of their starts, the first from 0 on.

    Raises:
        SettingsError: there is no stage, the first does not start at 0, or the starts do not rise below 1.
    """

    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        starts = [stage.start for stage in self.stages]
        if not starts or starts[0] != 0.0:
            raise SettingsError("The first stage of a schedule must start at 0.")
        if not all(early < late for early, late in pairwise([*starts, 1.0])):
            raise SettingsError("The stages of a schedule must start one after the other, before 1.")

    @classmethod
    def constant(cls, ratios: Ratios) -> Schedule:
        """The same ratios at every step."""
        return cls((Stage(0.0, ratios),))

    @property
    def first(self) -> Ratios:
        """The ratios of the first step; of a constant schedule, those of every step."""
        return self.stages[0].ratios

    @property
    def is_constant(self) -> bool:
        return len(self.stages) == 1

    def at(self, fraction: float) -> Ratios:
        """The ratios in force at this progress, in [0, 1)."""
        return next(stage.ratios for stage in reversed(self.stages) if stage.start <= fraction)

    def to_json(self) -> Any:
        """An object with down, mid and up; of several stages a list of them, each with its start as ``from``."""
        entries = [{"from": stage.start, **{group: stage.ratios[group] for group in GROUPS}} for stage in self.stages]
        if not self.is_constant:
            return entries
        return {group: self.first[group] for group in GROUPS}
