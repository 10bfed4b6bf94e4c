"""Optimal Brain Surgeon's saliency w^2 / [H^-1]_jj, without its update of the weights that stay (Hassibi, 1993)."""

from __future__ import annotations

from crdiff.pruning.columns import ColumnScores, saliency_scales
from crdiff.pruning.criterion import Criterion
from crdiff.pruning.scored import ScoredCriterion, of_layer
from crdiff.pruning.store import Store, WeightsState


def make(state: WeightsState, store: Store, *, name: str) -> Criterion:
    """The saliency for these weights, the ratio being the share of each layer.

    Raises:
        MissingCalibrationError: the weights are not calibrated, or without Hessians.
    """
    scales, basis = saliency_scales(name, state, store)
    return ScoredCriterion(state, store, name, ColumnScores(scales), of_layer, basis)
