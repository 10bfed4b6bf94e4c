"""The course of an image's steps: where a denoiser call stands, where CR-Diff acts, and the ratios in force there."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from crdiff.checks import exact, number, shown
from crdiff.errors import SettingsError
from crdiff.method.groups import GROUPS, Ratios

MAX_STAGES = 8
MIN_K, MAX_K = -2.0, 3.0
_FINE = 10_000

_NUMBER = r"[-+0-9.eE]+"
_RATIOS = rf"{_NUMBER}/{_NUMBER}/{_NUMBER}(?:/{_NUMBER})?"
TEXT_PATTERN = rf"^{_RATIOS}(?:; {_RATIOS} from {_NUMBER})*$"
"""What a schedule looks like in text, as a JSON Schema can say it."""
EXAMPLE = "0.4/0.3/0.3; 0.2/0.2/0.1/1.2 from 0.5"


def check_k(name: str, value: object) -> float:
    """``value`` as a float in [-2, 3]; raises SettingsError naming ``name`` otherwise."""
    return number(name, value, MIN_K, MAX_K)


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
    """A part of the schedule.

    Attributes:
        start: the fraction of the steps, in [0, 1), from which on it is in force.
        ratios: share of the weights pruned in each group.
        k: amplification in [-2, 3]; None where the schedule's user says.

    Raises:
        SettingsError: a value outside its range.
    """

    start: float
    ratios: Ratios
    k: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", number("from", self.start, 0.0, 1.0, high_open=True))
        if self.k is not None:
            object.__setattr__(self, "k", check_k("k", self.k))

    def __str__(self) -> str:
        numbers = str(self.ratios) if self.k is None else f"{self.ratios}/{exact(self.k)}"
        return f"{numbers} from {exact(self.start)}" if self.start else numbers

    @classmethod
    def parse(cls, text: str) -> Stage:
        """From ``"down/mid/up"`` or ``"down/mid/up/k"``, with ``" from START"`` unless it starts at 0."""
        found = re.fullmatch(rf"\s*({_RATIOS})(?:\s+from\s+({_NUMBER}))?\s*", text)
        try:
            start, *numbers = [float(one) for one in [found[2] or "0", *found[1].split("/")]] if found else []
        except ValueError:
            raise SettingsError(f"it reads {shown(text.strip())}, not down/mid/up or down/mid/up/k") from None
        return cls(start, Ratios(*numbers[: len(GROUPS)]), *numbers[len(GROUPS) :])

    @classmethod
    def from_json(cls, content: object) -> Stage:
        """From an object with from, down, mid and up, and perhaps k."""
        if not isinstance(content, Mapping):
            raise SettingsError(f"must be an object, not {shown(content)}")
        for key in content:
            if key not in ("from", *GROUPS, "k"):
                raise SettingsError(f"unknown key {shown(key)}")
        for key in ("from", *GROUPS):
            if key not in content:
                raise SettingsError(f"the key {shown(key)} is missing")
        return cls(content["from"], Ratios(**{group: content[group] for group in GROUPS}), content.get("k"))

    def to_json(self) -> dict[str, float]:
        """The inverse of ``from_json``."""
        k = {} if self.k is None else {"k": self.k}
        return {"from": self.start, **{group: self.ratios[group] for group in GROUPS}, **k}


@dataclass(frozen=True)
class Schedule:
    """The pruning ratios, and perhaps k, over the steps; one stage is the paper's, the same at every step.

    Attributes:
        stages: one to eight, in the order of their starts, the first from 0 on.

    Raises:
        SettingsError: there is none or there are too many, the first does not start at 0, or the starts do not rise.
    """

    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        starts = [stage.start for stage in self.stages]
        if len(starts) > MAX_STAGES:
            raise SettingsError(f"A schedule has at most {MAX_STAGES} stages, not {len(starts)}.")
        if not starts or starts[0] != 0.0:
            raise SettingsError("The first stage of a schedule must start at 0.")
        if not all(early < late for early, late in pairwise([*starts, 1.0])):
            raise SettingsError("The stages of a schedule must start one after the other, before 1.")

    @classmethod
    def constant(cls, ratios: Ratios, k: float | None = None) -> Schedule:
        """The same at every step."""
        return cls((Stage(0.0, ratios, k),))

    @classmethod
    def even(cls, parts: Sequence[Sequence[float]]) -> Schedule:
        """Stages of equal length, each from its down, mid and up, and perhaps its k.

        Starts are rounded down to four digits, so that of a step that begins with a stage none is lost.
        """
        starts = [math.floor(_FINE * place / len(parts)) / _FINE for place in range(len(parts))]
        made = [Stage(start, Ratios(*part[:3]), *part[3:4]) for start, part in zip(starts, parts)]
        return cls(tuple(made))

    def __str__(self) -> str:
        return "; ".join(map(str, self.stages))

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """From its stages in text, divided by semicolons, such as ``EXAMPLE``; the inverse of ``str``."""
        return cls._read(text.split(";"), Stage.parse)

    @classmethod
    def from_json(cls, content: Sequence[object]) -> Schedule:
        """From a list of objects as ``Stage.from_json`` takes them."""
        return cls._read(content, Stage.from_json)

    @classmethod
    def _read(cls, parts: Sequence[Any], read: Callable[[Any], Stage]) -> Schedule:
        stages = []
        for place, part in enumerate(parts, 1):
            try:
                stages.append(read(part))
            except SettingsError as error:
                raise SettingsError(f"Stage {place}: {str(error).removesuffix('.')}.") from None
        return cls(tuple(stages))

    @property
    def first(self) -> Ratios:
        """The ratios of the first step; of a constant schedule, those of every step."""
        return self.stages[0].ratios

    @property
    def is_constant(self) -> bool:
        return len(self.stages) == 1

    @property
    def has_own_k(self) -> bool:
        """Whether a stage has a k of its own."""
        return any(stage.k is not None for stage in self.stages)

    def at(self, fraction: float) -> Stage:
        """The stage in force at this progress, in [0, 1)."""
        return next(stage for stage in reversed(self.stages) if stage.start <= fraction)

    def with_k(self, k: float) -> Schedule:
        """The same with this k in the stages that have none."""
        return Schedule(tuple(replace(stage, k=k) if stage.k is None else stage for stage in self.stages))

    def without_k(self) -> Schedule:
        """The same with no k of their own in the stages."""
        return Schedule(tuple(replace(stage, k=None) for stage in self.stages))

    def to_json(self) -> Any:
        """An object with down, mid and up; of several stages a list as ``from_json`` takes it."""
        if not self.is_constant:
            return [stage.to_json() for stage in self.stages]
        return {group: self.first[group] for group in GROUPS}
