"""Soft thresholding, between magnitude and attenuation: every weight shrinks towards zero by its threshold."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from crdiff.pruning.criterion import LinearCall, Pruning
from crdiff.pruning.magnitude import MagnitudeCriterion, ThresholdPruning
from crdiff.pruning.masking import shrink_by


class SoftPruning(ThresholdPruning):
    """Makes every weight smaller by its threshold, and those up to it zero."""

    def weight(self, call: LinearCall) -> torch.Tensor:
        return shrink_by(call.weight, self._thresholds[call.layer.unit], self._scratch)


class SoftCriterion(MagnitudeCriterion):
    """See Criterion; the thresholds are those of magnitude, and so are the weights left out."""

    def prune(self, thresholds: Mapping[str, float]) -> Pruning:
        return SoftPruning(thresholds)
