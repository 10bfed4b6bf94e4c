"""What a search maximises: the mean score over prompts and image seeds (paper 3.3)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from crdiff.errors import SettingsError
from crdiff.method.groups import Ratios
from crdiff.search.space import Point, Signature, rounded

FAILED_SCORE = -2.0
RACING = ("exact", "likely", "off")

Evaluate = Callable[[Ratios, float, str, int], float]
"""The score of the picture drawn with these ratios, k, prompt and image seed."""

EvaluateMany = Callable[[Ratios, float, Sequence["tuple[str, int]"]], Sequence[float]]
"""The scores of several pictures, one for each prompt and image seed, drawn with the same ratios and k."""


@dataclass(frozen=True)
class Objective:
    """The pictures a configuration is judged by, and how.

    Attributes:
        prompts: the fixed prompts; one for a prompt-specific search.
        seeds: the image seeds; every prompt is drawn with each.
        evaluate: scores one picture; give this or ``evaluate_many``.
        evaluate_many: scores up to ``batch`` pictures at once.
        batch: pictures in one call of ``evaluate_many``.
        highest: no score can be higher; None if the scorer has no such bound.
        racing: ``exact`` cuts an evaluation as soon as its mean can no longer reach what the strategy needs, which
            changes nothing but the cost and needs ``highest``; ``likely`` also cuts it when, picture by picture
            against the configuration it competes with, it would hardly reach that: much cheaper with many pictures,
            and now and then wrong; ``off`` always draws every picture.
        failed: the score of a picture whose evaluation raised or was no finite number.
        failures: so many configurations in a row without a single picture that could be scored end the search.
        signature: a text that is the same for configurations that prune the same weights.

    Raises:
        SettingsError: a value that cannot be used.
    """

    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    evaluate: Evaluate | None = None
    evaluate_many: EvaluateMany | None = None
    batch: int = 1
    highest: float | None = None
    racing: str = "exact"
    failed: float = FAILED_SCORE
    failures: int = 5
    signature: Signature = rounded

    def __post_init__(self) -> None:
        for name, kind in (("prompts", str), ("seeds", int)):
            values: Any = getattr(self, name)
            listed = isinstance(values, (list, tuple))
            if not listed or not all(isinstance(value, kind) and not isinstance(value, bool) for value in values):
                what = "texts" if kind is str else "integers"
                raise SettingsError(f"The {name} of a search must be a list of {what}, not {values!r}.")
            object.__setattr__(self, name, tuple(values))
        for name, values in (("prompt", self.prompts), ("image seed", self.seeds)):
            if not values:
                raise SettingsError(f"A search needs at least one {name}.")
            if len(set(values)) < len(values):
                raise SettingsError(f"The search has the same {name} twice.")
        if (self.evaluate is None) == (self.evaluate_many is None):
            raise SettingsError("An objective needs evaluate or evaluate_many, and not both.")
        if self.racing not in RACING:
            raise SettingsError(f"Racing must be one of {', '.join(RACING)}, not {self.racing!r}.")
        for name in ("batch", "failures"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise SettingsError(f"{name} must be an integer from 1 on, not {value!r}.")
        for name in ("highest", "failed"):
            value = getattr(self, name)
            if value is not None and not is_score(value):
                raise SettingsError(f"{name} must be a finite number, not {value!r}.")

    @property
    def pictures(self) -> tuple[tuple[str, int], ...]:
        """Prompt and seed of every picture of a configuration: all prompts with the first seed, then the next."""
        return tuple((prompt, seed) for seed in self.seeds for prompt in self.prompts)

    @property
    def bound(self) -> float | None:
        """The highest score a picture still to be drawn can get; None if unknown or nothing may be cut."""
        if self.racing == "off" or self.highest is None:
            return None
        return max(self.highest, self.failed)

    def draw(self, point: Point, pictures: Sequence[tuple[str, int]]) -> Sequence[float]:
        """The scores of some pictures as the caller's function gives them."""
        if self.evaluate_many is not None:
            return self.evaluate_many(point.ratios, point.k, pictures)
        assert self.evaluate is not None
        return [self.evaluate(point.ratios, point.k, prompt, seed) for prompt, seed in pictures]

    def settings(self) -> dict[str, Any]:
        """What the scores and the cuts depend on, as plain JSON; a journal is bound to it."""
        return {
            "prompts": list(self.prompts),
            "seeds": list(self.seeds),
            "racing": "off" if self.racing == "exact" and self.bound is None else self.racing,
            "highest": self.highest,
            "failed": self.failed,
        }


def is_score(value: object) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
