"""Taylor: the weights go without which the loss would change least, |w * dL/dw| to first order (Molchanov, 2019).

The gradients are those of a denoising loss, see ``crdiff.calibration.gradients``.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from crdiff.errors import UnsupportedModelError
from crdiff.pruning.calibrations import MissingCalibrationError, needed
from crdiff.pruning.criterion import Criterion, LinearCall
from crdiff.pruning.hessian import Matrices
from crdiff.pruning.scored import GroupScoredCriterion
from crdiff.pruning.store import Store, WeightsState

_SCALE = 2.0**40
"""Keeps small scores from vanishing, and changes no order."""


class TaylorScores:
    """See Score.

    Args:
        gradients: (out, in) for each layer, by name, all times one number.
    """

    def __init__(self, gradients: Mapping[str, torch.Tensor]) -> None:
        self._gradients = gradients

    def __call__(self, call: LinearCall) -> torch.Tensor:
        """(out, in).

        Raises:
            UnsupportedModelError: the layer's gradient is not known, or of another shape.
        """
        known = self._gradients.get(call.layer.name)
        if known is None or known.shape != call.weight.shape:
            raise UnsupportedModelError(
                f"The calibration has no gradient of the model's layer {call.layer.name}: calibrate it anew."
            )
        return call.weight.detach().float().mul(known.to(call.weight.device).float()).abs_().mul_(_SCALE)


def make(state: WeightsState, store: Store, *, name: str) -> Criterion:
    """Taylor for these weights, with one threshold over all layers of a group, which one loss makes comparable.

    Raises:
        MissingCalibrationError: the weights are not calibrated, or without gradients.
    """
    statistics = needed(name, state, store)
    if statistics.gradients is None:
        raise MissingCalibrationError(f"The criterion {name} needs a calibration with gradients; this one has none.")
    return GroupScoredCriterion(state, store, name, TaylorScores(_read(statistics.gradients)), statistics.id)


def _read(gradients: Matrices) -> dict[str, torch.Tensor]:
    """All of them, in the processor's memory; those that can no longer be read are left out."""
    found = {name: gradients.get(key) for name, key in gradients.keys.items()}
    return {name: torch.from_numpy(matrix) for name, matrix in found.items() if matrix is not None}
