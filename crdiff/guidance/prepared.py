"""A UNet made ready for a run: its layers, the plan for it, and the overrides on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from crdiff.guidance.access import WeightsIdentity
from crdiff.guidance.shared_calls import SharedCalls
from crdiff.method.groups import Ratios
from crdiff.models.architecture import UNetLayers
from crdiff.models.family import Family
from crdiff.plan import Plan
from crdiff.pruning.copies import KeptWeights
from crdiff.pruning.criterion import Criterion
from crdiff.pruning.histogram import Threshold
from crdiff.pruning.linear import LayerOverrides
from crdiff.pruning.memory import Storage
from crdiff.pruning.mixed import MixedWeights


@dataclass(frozen=True)
class Applied:
    """What a run did with one model, for the infotext and the log."""

    family: Family
    plan: Plan
    ratios: Ratios
    thresholds: Mapping[str, Threshold]


@dataclass
class PreparedModel:
    """A UNet with the weights it has now; ``remove`` leaves it as it was.

    Attributes:
        unet: the UNet.
        identity: what the host says its weights are.
        layers: the layers that may be pruned.
        plan: ratios and k.
        overrides: on the layers.
        criterion: what decides which weights are pruned.
        shared: the calls both passes have in common.
        storage: whether pruned copies are kept.
    """

    unet: torch.nn.Module
    identity: WeightsIdentity
    layers: UNetLayers
    plan: Plan
    overrides: LayerOverrides
    criterion: Criterion
    shared: SharedCalls
    storage: Storage
    sharing: bool = True
    _weights: dict[tuple[Ratios, float], KeptWeights] = field(default_factory=dict)

    def weights(self, ratios: Ratios, k: float = 1.0) -> KeptWeights | None:
        """The pruned weights at these ratios, or mixed with the dense ones by k; None if nothing would be pruned."""
        found = self._weights.get((ratios, k))
        if found is None:
            pruning = self.criterion.pruning(ratios)
            if pruning is None:
                return None
            use = pruning if k == 1.0 else MixedWeights(pruning, k)
            # Copies of other ratios are not needed again: a schedule moves on.
            self._weights = {key: kept for key, kept in self._weights.items() if key[0] == ratios}
            found = self._weights[(ratios, k)] = KeptWeights(use, self.layers.layers, self.storage)
        return found

    def share(self, use: KeptWeights) -> None:
        """Put the overrides on the calls that both passes have in common in place."""
        if self.sharing:
            self.shared.install([layer.name for layer in self.layers.layers if use.wants(layer)])

    def free_memory(self) -> bool:
        """Give back all that is kept for speed, for the rest of the run; whether there was anything."""
        dropped = [kept.drop() for kept in self._weights.values()]
        had = any(dropped) or self.sharing
        self.sharing = False
        self.shared.remove()
        return had

    def remove(self) -> None:
        """Take every override away."""
        self.shared.remove()
        self.overrides.remove()
        self._weights.clear()
