"""What a search is asked to do: one object behind the controls, the script's argument and the journal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from crdiff.errors import SettingsError
from crdiff.method.groups import GROUPS

ITERATIONS = 120
"""Of the authors' annealing; a greater budget makes the walk longer."""

EYE = "eye"
"""The score that is the user's own choice between two pictures."""

SCORES = ("imagereward", "clip", "pickscore", "ssim", "own")
"""As the scores' own registry has them, which is not imported before it is needed."""

STRATEGIES = ("annealing", "random", "cmaes")
RACING = ("exact", "likely", "off")
"""Both as the search core has them."""

_NOT_THE_COURSE = ("evaluations", "minutes", "journal")


@dataclass(frozen=True)
class SearchPlan:
    """A search as the user wants it. The search core checks what it is handed; this checks the kinds of values.

    Attributes:
        score: name of the score or a weighted sum of names; None takes the first one available.
        evaluations: configurations to measure; None is no limit.
        minutes: of drawing and scoring; None is no limit.
        prompts: to judge by; None takes the job's own.
        seeds: image seeds; every prompt is drawn with each. None takes the job's own.
        vary: the axes that are varied, of down, mid, up and k.
        ratios: bounds of the ratios.
        k: bounds of k, where it is varied.
        strategy: name of the search strategy.
        seed: of the strategy's random numbers.
        racing: how evaluations that cannot win are cut: exact, likely or off.
        hires: whether Hires. fix stays on in the trials.
        iterations: of the annealing; None follows from the budget.
        temperature: of the annealing at its start; None takes the authors' 0.1, made for scores such as ImageReward's.
        starts: configurations to start from; None takes the matching preset and the dense model.
        journal: name of the journal to go on with; None takes the one that belongs to the settings.

    Raises:
        SettingsError: naming the key that cannot be used.
    """

    score: str | None = None
    evaluations: int | None = 40
    minutes: float | None = None
    prompts: tuple[str, ...] | None = None
    seeds: tuple[int, ...] | None = None
    vary: tuple[str, ...] = GROUPS
    ratios: tuple[float, float] = (0.1, 0.8)
    k: tuple[float, float] = (1.0, 2.5)
    strategy: str = "annealing"
    seed: int = 0
    racing: str = "exact"
    hires: bool = False
    iterations: int | None = None
    temperature: float | None = None
    starts: tuple[Mapping[str, float], ...] | None = None
    journal: str | None = None

    def __post_init__(self) -> None:
        for name in ("prompts", "seeds", "starts"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _listed(name, value) or None)
        for name in ("vary", "ratios", "k"):
            object.__setattr__(self, name, _listed(name, getattr(self, name)))
        _check_kinds(self)
        if self.evaluations is None and self.minutes is None:
            raise SettingsError("A search needs a budget of evaluations or of minutes.")
        if self.score is not None and not isinstance(self.score, str):
            raise SettingsError(f"The score of a search must be a name, not {self.score!r}.")
        if self.journal is not None and (not isinstance(self.journal, str) or Path(self.journal).name != self.journal):
            raise SettingsError(f"The journal of a search must be the name of a file, not {self.journal!r}.")
        if not isinstance(self.hires, bool):
            raise SettingsError(f"hires of a search must be true or false, not {self.hires!r}.")
        if self.iterations is None:
            object.__setattr__(self, "iterations", max(ITERATIONS, self.evaluations or 0))

    @classmethod
    def from_dict(cls, values: Any) -> SearchPlan:
        """The plan of a JSON object in which every key is optional."""
        if not isinstance(values, Mapping):
            raise SettingsError(f"A search must be an object with keys such as evaluations, not {values!r}.")
        known = [field.name for field in fields(cls)]
        for key in values:
            if key not in known:
                raise SettingsError(f"A search has no key {key!r}; known are {', '.join(known)}.")
        return cls(**values)

    @classmethod
    def from_text(cls, text: str | None) -> SearchPlan:
        """The plan of a JSON text; an empty one is all defaults."""
        try:
            return cls.from_dict(json.loads(text) if text and text.strip() else {})
        except ValueError as error:
            if isinstance(error, SettingsError):
                raise
            raise SettingsError(f"The search's settings are no JSON ({error}).") from None

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain JSON."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    def course(self) -> dict[str, Any]:
        """What the scores and the course of the search depend on: all but the budget, which may be raised later."""
        return {name: value for name, value in self.to_dict().items() if name not in _NOT_THE_COURSE}


def _check_kinds(plan: SearchPlan) -> None:
    """Refuse what could not even be compared; ranges are the search core's to check."""
    for name, least in (("evaluations", 1), ("iterations", 1), ("seed", 0)):
        value = getattr(plan, name)
        if value is None and name != "seed":
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise SettingsError(f"{name} of a search must be an integer from {least} on, not {value!r}.")
    heat = plan.temperature
    if heat is not None and (isinstance(heat, bool) or not isinstance(heat, (int, float))):
        raise SettingsError(f"temperature of a search must be a number, not {heat!r}.")
    for name in ("vary", "strategy", "racing"):
        value = getattr(plan, name)
        for text in value if name == "vary" else (value,):
            if not isinstance(text, str):
                raise SettingsError(f"{name} of a search must hold names, not {text!r}.")
    for start in plan.starts or ():
        if not isinstance(start, Mapping):
            raise SettingsError(f"starts of a search must be objects with down, mid, up and k, not {start!r}.")


def _listed(name: str, value: Any) -> tuple[Any, ...]:
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Sequence):
        raise SettingsError(f"{name} of a search must be a list, not {value!r}.")
    return tuple(value)


def read_lines(text: str | None) -> list[str] | None:
    """The prompts of a text, one a line; None if there are none."""
    return [line.strip() for line in (text or "").splitlines() if line.strip()] or None


def read_seeds(text: str | None) -> list[int] | None:
    """The seeds of a text such as ``1, 2, 3``; None if there are none.

    Raises:
        SettingsError: a part of it is no whole number from 0 on.
    """
    parts = (text or "").replace(",", " ").replace(";", " ").split()
    for part in parts:
        if not part.isascii() or not part.isdigit():
            raise SettingsError(f"Image seeds are whole numbers from 0 on, such as 1, 2, 3; {part!r} is none.")
    return list(dict.fromkeys(int(part) for part in parts)) or None
