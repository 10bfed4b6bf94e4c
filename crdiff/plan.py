"""What one sampling run does with one model: ratios over the schedule, and k."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from crdiff.method.groups import Ratios
from crdiff.models.family import Family


class RatioSchedule(Protocol):
    """Ratios as a function of the progress through the schedule, in [0, 1)."""

    def at(self, fraction: float) -> Ratios:
        """The ratios in force at this progress."""


@dataclass(frozen=True)
class ConstantRatios:
    """The same ratios at every step, as in the paper."""

    ratios: Ratios

    def at(self, fraction: float) -> Ratios:
        return self.ratios


@dataclass(frozen=True)
class Plan:
    """What CR-Diff does with a model at a size.

    Attributes:
        schedule: the pruning ratios.
        k: amplification (paper eq. 2); 0 is dense only, 1 pruned only.
        origin: where the ratios come from, as a phrase for the user.
    """

    schedule: RatioSchedule
    k: float
    origin: str


Planner = Callable[[Family, "str | None"], Plan]
"""Makes the plan for a family and, if known, the checkpoint's sha256. Raises CRDiffError if there is none."""
