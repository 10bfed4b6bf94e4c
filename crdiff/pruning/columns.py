"""Scores |w_ij| * s_j: a weight counts for more the larger the input is that it multiplies."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from crdiff.errors import UnsupportedModelError
from crdiff.pruning.criterion import LinearCall
from crdiff.pruning.statistics import Columns


class ColumnScores:
    """See Score. The product is float32's, so that it has the same bits on every device.

    Args:
        scales: (in,) for each layer, by name.
    """

    def __init__(self, scales: Mapping[str, Columns]) -> None:
        self._scales = {name: torch.from_numpy(scale) for name, scale in scales.items()}

    def scale(self, call: LinearCall) -> torch.Tensor:
        """Of a layer, on its device.

        Raises:
            UnsupportedModelError: the layer has not been seen, or has not as many inputs.
        """
        name = call.layer.name
        known = self._scales.get(name)
        if known is None or len(known) != call.weight.shape[1]:
            raise UnsupportedModelError(f"The calibration does not know the model's layer {name}: calibrate it anew.")
        if known.device != call.weight.device:
            known = self._scales[name] = known.to(call.weight.device)
        return known

    def __call__(self, call: LinearCall) -> torch.Tensor:
        """(out, in)."""
        return call.weight.float().abs() * self.scale(call)
