"""Optimal Brain Surgeon's saliency w^2 / [H^-1]_jj, without its update of the weights that stay (Hassibi, 1993)."""

from __future__ import annotations

import numpy as np

from crdiff.pruning.calibrations import MissingCalibrationError, needed
from crdiff.pruning.columns import ColumnScores
from crdiff.pruning.criterion import Criterion
from crdiff.pruning.scored import ScoredCriterion, of_layer
from crdiff.pruning.statistics import Columns, LayerStatistics
from crdiff.pruning.store import Store, WeightsState


def make(state: WeightsState, store: Store, *, name: str) -> Criterion:
    """The saliency for these weights, the ratio being the share of each layer.

    Layers without an inverse Hessian go by magnitude, and the basis says how many.

    Raises:
        MissingCalibrationError: the weights are not calibrated, or without Hessians.
    """
    statistics = needed(name, state, store)
    without = len(statistics.uninverted)
    if without == len(statistics.layers):
        raise MissingCalibrationError(
            f"The criterion {name} needs a calibration with Hessians; this checkpoint's has none."
        )
    score = ColumnScores({layer: _scale(found) for layer, found in statistics.layers.items()})
    some = f"{without} layer{'s' if without > 1 else ''} without a Hessian"
    basis = f"{statistics.id} ({some} by magnitude)" if without else statistics.id
    return ScoredCriterion(state, store, name, score, of_layer, basis)


def _scale(layer: LayerStatistics) -> Columns:
    """The root of 1 / [H^-1]_jj, which scores |w| as its square scores w^2."""
    return np.ones_like(layer.squares) if layer.inverse is None else 1.0 / np.sqrt(layer.inverse)
