"""What a pass with mixed weights lacks of the exact prediction, remembered from call to call (mode Balanced)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from crdiff.guidance.step import Step
from crdiff.method.groups import Ratios
from crdiff.method.schedule import Position

_MEMORY = 0.35
"""Of the schedule: after this part of it a residual's correlation with the present one has fallen to about 1 / e."""

_LEAD = 0.15
"""Part of the schedule at its start whose residuals resemble no later ones, so that none is measured there."""


@dataclass(frozen=True)
class _Residual:
    """Exact minus mixed, as measured at one denoiser call."""

    value: torch.Tensor
    position: Position
    ratios: Ratios
    context: torch.Tensor | None


class Residuals:
    """The residuals of one model in one run. A host may call the UNet several times a step; each call has its own.

    Each counts for less the longer ago it was measured, so that a stale one does no harm.

    Args:
        refresh: steps from one measurement to the next.
    """

    def __init__(self, refresh: int) -> None:
        self._refresh = refresh
        self._kept: dict[int, _Residual] = {}

    def predict(
        self, step: Step, k: float, position: Position, call: int, context: torch.Tensor | None
    ) -> torch.Tensor:
        """The exact prediction where a residual is due, else the mixed one plus the last residual.

        Args:
            step: the denoiser call.
            k: amplification.
            position: the step's place in the schedule.
            call: which UNet call of the step this is.
            context: what the UNet is conditioned on; another prompt needs another residual.
        """
        if position.fraction < _LEAD and position.total > 1:
            return step.with_weights(k)
        known = self._kept.get(call)
        if known is not None and self._holds(known, step, position, context):
            mixed = step.with_weights(k)
            if mixed.shape == known.value.shape:
                weight = math.exp(-(((position.step - known.position.step) / (_MEMORY * position.total)) ** 2))
                return (mixed.float() + weight * known.value).to(mixed.dtype)
        exact, mixed = step.exact_and_mixed(k)
        self._kept[call] = _Residual(exact.float() - mixed.float(), position, step.ratios, context)
        return exact

    def _holds(self, known: _Residual, step: Step, position: Position, context: torch.Tensor | None) -> bool:
        age = position.step - known.position.step
        if not 0 <= age < self._refresh or known.ratios != step.ratios:
            return False
        if known.context is None or context is None:
            return known.context is context
        return known.context.shape == context.shape and torch.equal(known.context, context)
