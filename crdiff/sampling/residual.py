"""What a pass with mixed weights lacks of the exact prediction, remembered from call to call (mode Balanced)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from crdiff.pruning.ratios import Ratios
from crdiff.sampling.step import Step


@dataclass(frozen=True)
class _Residual:
    """Exact minus mixed, as measured at one denoiser call."""

    value: torch.Tensor
    step: int
    ratios: Ratios
    context: torch.Tensor | None


class Residuals:
    """The residuals of one model in one run. A host may call the UNet several times a step; each call has its own.

    Args:
        refresh: steps from one measurement to the next.
    """

    def __init__(self, refresh: int) -> None:
        self._refresh = refresh
        self._kept: dict[int, _Residual] = {}

    def predict(self, step: Step, k: float, number: int, call: int, context: torch.Tensor | None) -> torch.Tensor:
        """The exact prediction where a residual is due, else the mixed one plus the last residual.

        Args:
            step: the denoiser call.
            k: amplification.
            number: the step's index in the schedule.
            call: which UNet call of the step this is.
            context: what the UNet is conditioned on; another prompt needs another residual.
        """
        known = self._kept.get(call)
        if known is not None and self._holds(known, step, number, context):
            mixed = step.with_weights(k)
            if mixed.shape == known.value.shape:
                return (mixed.float() + known.value).to(mixed.dtype)
        exact, mixed = step.exact_and_mixed(k)
        self._kept[call] = _Residual(exact.float() - mixed.float(), number, step.ratios, context)
        return exact

    def _holds(self, known: _Residual, step: Step, number: int, context: torch.Tensor | None) -> bool:
        if not known.step <= number < known.step + self._refresh or known.ratios != step.ratios:
            return False
        if known.context is None or context is None:
            return known.context is context
        return known.context.shape == context.shape and torch.equal(known.context, context)
