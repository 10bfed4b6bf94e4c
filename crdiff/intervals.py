"""Means with Student's 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean

_HALVINGS = 60


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % interval, which is unknown (None) with fewer than two observations."""

    value: float
    low: float | None
    high: float | None

    @property
    def uniform(self) -> bool:
        """Whether all observations were the same, of whose spread nothing is known then."""
        return self.low is not None and self.low == self.high

    @property
    def certain(self) -> bool:
        """Whether zero lies outside it; not where it has no width."""
        if self.low is None or self.high is None or self.uniform:
            return False
        return not self.low <= 0.0 <= self.high


def mean_interval(values: Sequence[float]) -> Interval:
    """The mean of some observations, with Student's interval."""
    mean, count = fmean(values), len(values)
    if count < 2:
        return Interval(mean, None, None)
    if min(values) == max(values):  # exactly, whatever their mean rounds to
        return Interval(values[0], values[0], values[0])
    variance = math.fsum((one - mean) ** 2 for one in values) / (count - 1)
    half = student(count - 1) * math.sqrt(variance / count)
    return Interval(mean, mean - half, mean + half)


def gain_interval(values: Sequence[float], others: Sequence[float]) -> Interval:
    """The mean difference, pair by pair."""
    return mean_interval(_differences(values, others))


def wins(values: Sequence[float], others: Sequence[float]) -> float:
    """The share of pairs in which the first is higher; a tie is half a win."""
    return fmean((one > 0) + 0.5 * (one == 0) for one in _differences(values, others))


@cache
def student(freedom: int) -> float:
    """The two-sided 95 % quantile of Student's t, for degrees of freedom from 1 on."""
    low, high = 0.0, math.pi / 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < 0.95 else (low, middle)
    return math.sqrt(freedom) * math.tan(low)


def _within(angle: float, freedom: int) -> float:
    """The probability that |t| is at most sqrt(freedom) * tan(angle) (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    odd, sine, cosine = freedom % 2, math.sin(angle), math.cos(angle)
    total, term = 0.0, cosine if odd else 1.0
    for k in range(1, freedom // 2 + 1):
        total += term
        term *= cosine**2 * (2 * k - 1 + odd) / (2 * k + odd)
    return (angle + sine * total) * 2 / math.pi if odd else sine * total


def _differences(values: Sequence[float], others: Sequence[float]) -> list[float]:
    return [one - other for one, other in zip(values, others)]
