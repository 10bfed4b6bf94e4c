"""The authors' design, which every mode is measured against: a second, masked model and two full passes.

Written apart from the rest of the package on purpose: it shares neither the thresholds nor the mix, only which layers
are pruned.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch

from crdiff.bench.random_model import StepInputs
from crdiff.method.groups import Ratios
from crdiff.models.architecture import find_layers
from crdiff.models.scope import Scope

Units = Mapping[str, tuple[str, list[torch.Tensor]]]
"""By name, what shares a threshold: the group whose ratio it goes by, and the weights."""


def threshold_by_kthvalue(weights: list[torch.Tensor], ratio: float) -> torch.Tensor | None:
    """The int(n * ratio)-th smallest magnitude of all ``weights`` together, None where that is the 0th.

    As in the authors' code the magnitudes are concatenated and the whole is cloned.
    """
    magnitudes = torch.cat([weight.detach().abs().flatten() for weight in weights])
    rank = int(magnitudes.numel() * ratio)
    if rank == 0:
        return None
    return magnitudes.clone().kthvalue(rank).values


def pruned_copy(model: torch.nn.Module, ratios: Ratios, scope: Scope = Scope()) -> torch.nn.Module:  # noqa: B008 (frozen)
    """A full copy of ``model`` whose pruned layers are multiplied by their masks."""
    pruned = copy.deepcopy(model)
    for group, weights in units_of(pruned, scope).values():
        threshold = threshold_by_kthvalue(weights, ratios[group])
        if threshold is not None:
            for weight in weights:
                weight.mul_(weight.abs() > threshold)
    return pruned


def units_of(model: torch.nn.Module, scope: Scope) -> Units:
    """What shares a threshold in a model, the pruned parts of its weights as views of them."""
    units: dict[str, tuple[str, list[torch.Tensor]]] = {}
    for layer in find_layers(model, scope).layers:
        weight = layer.module.get_parameter("weight").data
        _, weights = units.setdefault(layer.unit, (layer.group, []))
        weights.append(weight if layer.region is None else layer.region.of(weight))
    return units


class TwoModels:
    """Two full models, two full passes a step, and their mix in float32 (paper eq. 2)."""

    def __init__(self, model: torch.nn.Module, ratios: Ratios, k: float, scope: Scope = Scope()) -> None:  # noqa: B008 (frozen)
        self._dense, self._pruned, self._k = model, pruned_copy(model, ratios, scope), k

    def step(self, inputs: StepInputs) -> torch.Tensor:
        """The prediction of one step."""
        pruned: torch.Tensor = self._pruned(*inputs)
        dense: torch.Tensor = self._dense(*inputs)
        return (self._k * pruned.float() + (1.0 - self._k) * dense.float()).to(dense.dtype)
