"""RIA: a weight's share in its column and in its row, times the size of its input (Zhang et al., 2024)."""

from __future__ import annotations

import torch

from crdiff.pruning.calibrations import needed
from crdiff.pruning.columns import ColumnScores
from crdiff.pruning.criterion import Criterion, LinearCall
from crdiff.pruning.scored import ScoredCriterion, of_layer
from crdiff.pruning.store import Store, WeightsState

_EXPONENT = 0.5
"""Of the norm of the input: the authors' default."""

_TINY = torch.finfo(torch.float32).tiny


class RelativeImportance(ColumnScores):
    """(|w_ij| / sum_i |w_ij| + |w_ij| / sum_j |w_ij|) * ||x_j|| ** 0.5; 0 where a row or column is 0 throughout."""

    def __call__(self, call: LinearCall) -> torch.Tensor:
        magnitudes = call.weight.detach().float().abs()
        of_columns = magnitudes.sum(0, keepdim=True).clamp_min(_TINY)
        of_rows = magnitudes.sum(1, keepdim=True).clamp_min(_TINY)
        return (magnitudes / of_columns + magnitudes / of_rows) * self.scale(call) ** _EXPONENT


def make(state: WeightsState, store: Store, *, name: str) -> Criterion:
    """RIA for these weights, the ratio being the share of each layer.

    Raises:
        MissingCalibrationError: the weights are not calibrated.
    """
    statistics = needed(name, state, store)
    score = RelativeImportance({layer: found.norms for layer, found in statistics.layers.items()})
    return ScoredCriterion(state, store, name, score, of_layer, statistics.id)
