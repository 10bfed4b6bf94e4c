"""The authors' design, which every mode is measured against: a second, masked UNet and two full passes.

Written apart from the rest of the package on purpose: it shares neither the thresholds nor the mix, only which layers
are pruned.
"""

from __future__ import annotations

import copy

import torch

from crdiff.bench.random_unet import StepInputs
from crdiff.bench.unet import UNetModel
from crdiff.method.groups import GROUPS, Ratios
from crdiff.models.architecture import find_layers


def threshold_by_kthvalue(weights: list[torch.Tensor], ratio: float) -> torch.Tensor | None:
    """The int(n * ratio)-th smallest magnitude of all ``weights`` together, None where that is the 0th.

    As in the authors' code the magnitudes are concatenated and the whole is cloned.
    """
    magnitudes = torch.cat([weight.detach().abs().flatten() for weight in weights])
    rank = int(magnitudes.numel() * ratio)
    if rank == 0:
        return None
    return magnitudes.clone().kthvalue(rank).values


def pruned_copy(unet: UNetModel, ratios: Ratios) -> UNetModel:
    """A full copy of ``unet`` whose pruned layers are multiplied by their masks."""
    pruned = copy.deepcopy(unet)
    layers = find_layers(pruned)
    for group in GROUPS:
        weights: list[torch.Tensor] = [layer.module.get_parameter("weight").data for layer in layers.group(group)]
        threshold = threshold_by_kthvalue(weights, ratios[group])
        if threshold is not None:
            for weight in weights:
                weight.mul_(weight.abs() > threshold)
    return pruned


class TwoUNets:
    """Two full UNets, two full passes a step, and their mix in float32 (paper eq. 2)."""

    def __init__(self, unet: UNetModel, ratios: Ratios, k: float) -> None:
        self._dense, self._pruned, self._k = unet, pruned_copy(unet, ratios), k

    def step(self, inputs: StepInputs) -> torch.Tensor:
        """The prediction of one step."""
        pruned: torch.Tensor = self._pruned(*inputs)
        dense: torch.Tensor = self._dense(*inputs)
        return (self._k * pruned.float() + (1.0 - self._k) * dense.float()).to(dense.dtype)
