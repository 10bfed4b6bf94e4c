"""Whole channels: what goes into the last layer of a branch goes in with all of its weights, or not at all.

The score of a channel is the sum of the saliencies of its weights, sum_i w_ij^2 / [H^-1]_jj, as in OBS-Diff's and
Diff-ES's structured pruning; the weights that stay are not updated, and the channels of self-attention are taken one by
one, not by head.
"""

from __future__ import annotations

import torch

from crdiff.models.architecture import Layer
from crdiff.pruning.columns import ColumnScores, saliency_scales
from crdiff.pruning.criterion import Criterion, LinearCall
from crdiff.pruning.scored import ScoredCriterion, of_rows
from crdiff.pruning.store import Store, WeightsState


class ChannelScores(ColumnScores):
    """See Score; the same for all weights of a column."""

    def __call__(self, call: LinearCall) -> torch.Tensor:
        columns = super().__call__(call).square().sum(0, keepdim=True)
        return columns.expand(call.weight.shape)


def make(state: WeightsState, store: Store, *, name: str) -> Criterion:
    """Channels for these weights, the ratio being the share of those of each layer that ends a branch.

    Raises:
        MissingCalibrationError: the weights are not calibrated, or without Hessians.
    """
    scales, basis = saliency_scales(name, state, store)
    return ScoredCriterion(state, store, name, ChannelScores(scales), of_rows, basis, among=_ends_branch)


def _ends_branch(layer: Layer) -> bool:
    return layer.ends_branch
