"""Wanda: the weights with the smallest |w_ij| * ||x_j|| go (Sun et al., 2023; locuslab/wanda)."""

from __future__ import annotations

from crdiff.pruning.calibrations import needed
from crdiff.pruning.columns import ColumnScores
from crdiff.pruning.criterion import Criterion
from crdiff.pruning.scored import Cut, GroupScoredCriterion, ScoredCriterion, of_layer, of_rows
from crdiff.pruning.store import Store, WeightsState

_CUTS: dict[str, Cut] = {"row": of_rows, "layer": of_layer}


def make(state: WeightsState, store: Store, *, name: str, over: str) -> Criterion:
    """Wanda for these weights.

    The norm of an input is its root mean square over the tokens; the factor by which that differs from the sum of the
    authors' code is the same in all of a layer, and matters over a group alone.

    Args:
        state: of the weights.
        store: of calibrations and of what criteria gather.
        name: of the criterion.
        over: what the ratio is the share of: each ``row`` (the method's own: the weights of one output), each
            ``layer`` or each ``group``.

    Raises:
        MissingCalibrationError: the weights are not calibrated.
    """
    statistics = needed(name, state, store)
    score = ColumnScores({layer: found.norms for layer, found in statistics.layers.items()})
    if over in _CUTS:
        return ScoredCriterion(state, store, name, score, _CUTS[over], statistics.id)
    return GroupScoredCriterion(state, store, name, score, statistics.id)
