"""One pass with mixed weights, corrected by what it lacked when the exact prediction was last computed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crdiff.method.groups import Ratios
from crdiff.method.schedule import Position
from crdiff.modes.mode import Step

if TYPE_CHECKING:
    import torch

_MEMORY = 0.35
"""Of the schedule: after this part of it a residual's correlation with the present one has fallen to about 1 / e."""

_LEAD = 0.15
"""Part of the schedule at its start whose residuals resemble no later ones, so that none is measured there."""

REFRESH = 8
"""Steps from one measurement to the next."""


@dataclass(frozen=True)
class _Residual:
    """Exact minus mixed, as measured at one denoiser call."""

    value: torch.Tensor
    position: Position
    ratios: Ratios
    k: float
    context: torch.Tensor | None


class Balanced:
    """See Mode. A host may call the UNet several times a step; each call has a residual of its own.

    A residual counts for less the longer ago it was measured, so that a stale one does no harm.
    """

    name = "balanced"
    help = f"fast, corrected by three passes every {REFRESH} steps; nearer to exact."
    passes = 1.0 + 2.0 / REFRESH
    shares = True
    pruned_passes = 1.0 / REFRESH
    refresh = REFRESH

    def __init__(self) -> None:
        self._residuals: dict[int, _Residual] = {}

    def predict(self, step: Step) -> torch.Tensor:
        if step.position.fraction < _LEAD and step.position.total > 1:
            return step.mixed()
        known = self._residuals.get(step.call)
        if known is not None and self._holds(known, step):
            mixed = step.mixed()
            if mixed.shape == known.value.shape:
                age = step.position.step - known.position.step
                weight = math.exp(-((age / (_MEMORY * step.position.total)) ** 2))
                return (mixed.float() + weight * known.value).to(mixed.dtype)
        pruned = step.pruned()
        mixed = step.mixed()
        exact = step.amplified(pruned, step.dense())
        lacked = exact.float() - mixed.float()
        self._residuals[step.call] = _Residual(lacked, step.position, step.ratios, step.k, step.context)
        return exact

    def _holds(self, known: _Residual, step: Step) -> bool:
        age = step.position.step - known.position.step
        if not 0 <= age < self.refresh or (known.ratios, known.k) != (step.ratios, step.k):
            return False
        if known.context is None or step.context is None:
            return known.context is step.context
        return known.context.shape == step.context.shape and known.context.equal(step.context)
