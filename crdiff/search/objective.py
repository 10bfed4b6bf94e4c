"""What a search maximises: the mean score over prompts and image seeds (paper 3.3)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from crdiff import checks
from crdiff.errors import SettingsError
from crdiff.search.strategies.point import Point, Signature, rounded

FAILED_SCORE = -2.0
RACING = ("exact", "likely", "off")

Image = tuple[str, int]
"""The prompt and the image seed of an image that a configuration is judged by."""

Evaluate = Callable[[Point, str, int], float]
"""The score of the image drawn with this configuration, prompt and image seed."""

EvaluateMany = Callable[[Point, Sequence[Image]], Sequence[float]]
"""The scores of several images drawn with one configuration."""


@dataclass(frozen=True)
class Objective:
    """The images a configuration is judged by, and how.

    Attributes:
        prompts: the fixed prompts; one for a prompt-specific search.
        seeds: the image seeds; every prompt is drawn with each.
        evaluate: scores one image; give this or ``evaluate_many``.
        evaluate_many: scores up to ``batch`` images at once.
        batch: images in one call of ``evaluate_many``.
        highest: no score can be higher; None if the scorer has no such bound.
        racing: ``exact`` cuts an evaluation short as soon as its mean can no longer exceed the strategy's threshold,
            which changes nothing but the cost and needs ``highest``; ``likely`` also cuts it short when it is unlikely
            to exceed it, judged image by image against the incumbent: much cheaper with many images, and occasionally
            wrong; ``off`` always draws every image.
        failed: the score of an image whose evaluation raised or was no finite number.
        failures: configurations in a row without a single image that could be scored, after which the search ends.
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
        for name, usable, kind in (("prompts", _is_text, "texts"), ("seeds", checks.is_integer, "integers")):
            values: Any = getattr(self, name)
            if not isinstance(values, (list, tuple)) or not all(map(usable, values)):
                raise SettingsError(f"The {name} of a search must be a list of {kind}, not {checks.shown(values)}.")
            object.__setattr__(self, name, tuple(values))
        for name, values in (("prompt", self.prompts), ("image seed", self.seeds)):
            if not values:
                raise SettingsError(f"A search needs at least one {name}.")
            if len(set(values)) < len(values):
                raise SettingsError(f"The search has the same {name} twice.")
        if (self.evaluate is None) == (self.evaluate_many is None):
            raise SettingsError("An objective needs evaluate or evaluate_many, and not both.")
        checks.choice("Racing", self.racing, RACING)
        for name in ("batch", "failures"):
            checks.integer(name, getattr(self, name), 1)
        if self.highest is not None:
            checks.number("highest", self.highest)
        checks.number("failed", self.failed)

    @property
    def images(self) -> tuple[Image, ...]:
        """The images of a configuration."""
        return images_of(self.prompts, self.seeds)

    @property
    def bound(self) -> float | None:
        """The highest score an image still to be drawn can get; None if unknown or nothing may be cut short."""
        if self.racing == "off" or self.highest is None:
            return None
        return max(self.highest, self.failed)

    def draw(self, point: Point, images: Sequence[Image]) -> Sequence[float]:
        """The scores of some images as the caller's function gives them."""
        if self.evaluate_many is not None:
            return self.evaluate_many(point, images)
        assert self.evaluate is not None
        return [self.evaluate(point, prompt, seed) for prompt, seed in images]

    def settings(self) -> dict[str, Any]:
        """What the scores and the cuts depend on, as plain JSON; a journal is bound to it."""
        return {
            "prompts": list(self.prompts),
            "seeds": list(self.seeds),
            "racing": "off" if self.racing == "exact" and self.bound is None else self.racing,
            "highest": self.highest,
            "failed": self.failed,
        }


def images_of(prompts: Sequence[str], seeds: Sequence[int]) -> tuple[Image, ...]:
    """The images that prompts and image seeds make: all prompts with the first seed, then with the next."""
    return tuple((prompt, seed) for seed in seeds for prompt in prompts)


def is_score(value: object) -> bool:
    """Whether a value is a finite number."""
    return checks.is_number(value) and math.isfinite(value)


def _is_text(value: object) -> bool:
    return isinstance(value, str)
