"""Scores |w_ij| * s_j: a weight counts for more the more the input does that it multiplies."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from crdiff.errors import UnsupportedModelError
from crdiff.pruning.calibrations import MissingCalibrationError, needed
from crdiff.pruning.criterion import LinearCall
from crdiff.pruning.statistics import Columns, LayerStatistics
from crdiff.pruning.store import Store, WeightsState


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
        name, region = call.layer.name, call.layer.region
        whole = self._scales.get(name)
        known = whole if whole is None or region is None else region.of_inputs(whole, call.weight.shape[1])
        if whole is None or known is None or len(known) != call.weight.shape[1]:
            raise UnsupportedModelError(f"The calibration does not know the model's layer {name}: calibrate it anew.")
        if known.device != call.weight.device:
            # A copy made in inference mode could not be used outside of it where gradients are recorded.
            with torch.inference_mode(False):
                self._scales[name] = whole.to(call.weight.device)
            return self.scale(call)
        return known

    def __call__(self, call: LinearCall) -> torch.Tensor:
        """(out, in)."""
        weight = call.weight.detach()
        weight = weight.to(torch.float16) if weight.element_size() == 1 else weight
        return torch.mul(weight, self.scale(call)).abs_()


def saliency_scales(name: str, state: WeightsState, store: Store) -> tuple[dict[str, Columns], str]:
    """The roots of 1 / [H^-1]_jj, by which |w| is scored as w^2 / [H^-1]_jj is, and the criterion's basis.

    Layers without an inverse Hessian go by magnitude, and the basis says how many.

    Args:
        name: of the criterion.
        state: of the weights.
        store: of calibrations.

    Raises:
        MissingCalibrationError: the weights are not calibrated, or without Hessians.
    """
    statistics = needed(name, state, store)
    without = len(statistics.uninverted)
    if without == len(statistics.layers):
        raise MissingCalibrationError(
            f"The criterion {name} needs a calibration with Hessians; this checkpoint's has none."
        )
    scales = {layer: _saliency_scale(found) for layer, found in statistics.layers.items()}
    return scales, statistics.basis(without)


def _saliency_scale(layer: LayerStatistics) -> Columns:
    return np.ones_like(layer.squares) if layer.inverse is None else 1.0 / np.sqrt(layer.inverse)
