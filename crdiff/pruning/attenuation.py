"""Nothing is left out: every weight of a layer times 1 - r, as a factor of its product, at no cost of its own."""

from __future__ import annotations

from collections.abc import Mapping

from crdiff.method.groups import Ratios
from crdiff.models.architecture import Layer
from crdiff.pruning.criterion import GroupSparsity, Pruning
from crdiff.pruning.store import Store, WeightsState


class Attenuation(Pruning):
    """Weakens layers by their group's ratio; with ``outputs_only`` those alone that end a branch."""

    def __init__(self, ratios: Ratios, *, outputs_only: bool) -> None:
        self._ratios, self._outputs_only = ratios, outputs_only

    def wants(self, layer: Layer) -> bool:
        return self._ratios[layer.group] > 0.0 and (layer.ends_branch or not self._outputs_only)

    def factor(self, layer: Layer) -> float:
        return 1.0 - self._ratios[layer.group]


class AttenuationCriterion:
    """See Criterion. No weight is looked at, and none is left out.

    Args:
        state: of the weights.
        store: of what criteria gather.
        outputs_only: only the layers whose output is added to what the block works on, so that each branch is weaker
            by its ratio and nothing inside it changes.
    """

    basis = ""

    def __init__(self, state: WeightsState, store: Store, *, outputs_only: bool = False) -> None:
        self._outputs_only = outputs_only

    def observer(self, ratios: Ratios) -> None:
        """There is nothing to look at."""

    def pruning(self, ratios: Ratios) -> Pruning | None:
        return Attenuation(ratios, outputs_only=self._outputs_only) if any(ratios) else None

    def sparsity(self, ratios: Ratios) -> Mapping[str, GroupSparsity]:
        return {}
