"""What the best configuration of a search is worth on fresh image seeds: it was chosen for those that were drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_Z = 1.959964


@dataclass(frozen=True)
class Gain:
    """How far the best configuration scores above where the search started.

    Attributes:
        value: the mean difference, image by image.
        low: the lower end of its 95 % interval.
        high: the upper end.
        images: of each of the two.
    """

    value: float
    low: float
    high: float
    images: int

    @classmethod
    def of(cls, differences: Sequence[float]) -> Gain:
        """The mean of at least two differences, with Student's interval."""
        count = len(differences)
        mean = math.fsum(differences) / count
        variance = math.fsum((one - mean) ** 2 for one in differences) / (count - 1)
        half = student(count - 1) * math.sqrt(variance / count)
        return cls(mean, mean - half, mean + half, count)

    @property
    def sentence(self) -> str:
        """For the user."""
        text = (
            f"On {self.images} images with fresh seeds it gains {self.value:+.3g} ({self.low:+.3g} to {self.high:+.3g})"
        )
        if self.low > 0.0:
            return f"{text} over where the search started."
        return f"{text}: no better than where the search started, as far as these images tell."


def student(freedom: int) -> float:
    """The half width of a 95 % interval in standard errors, for these degrees of freedom."""
    if freedom <= len(_FEW):
        return _FEW[freedom - 1]
    # Cornish and Fisher's expansion, good to three digits from here on.
    first, second = (_Z**3 + _Z) / 4, (5 * _Z**5 + 16 * _Z**3 + 3 * _Z) / 96
    return _Z + first / freedom + second / freedom**2


_FEW = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)


def fresh_seeds(seeds: Sequence[int], count: int) -> tuple[int, ...]:
    """The seeds after the largest."""
    return tuple(max(seeds) + 1 + number for number in range(count))
