"""OBS-Diff: weights go by Optimal Brain Surgeon, and those that stay are changed to make up for them.

As in OBS-Diff (arXiv 2510.06751) the Hessian weighs early steps more (see ``crdiff.calibration.run.step_weight``), and
columns are pruned in blocks of 128. All layers are one package, calibrated on the dense model, which its Table 7 finds
as good as several. The changed weights are kept in the processor's memory, in the precision that layers compute in;
copies of them go to the device as those of other pruned weights do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from crdiff.errors import UnsupportedModelError
from crdiff.method.groups import GROUPS, Ratios
from crdiff.models.architecture import Layer
from crdiff.pruning.calibrations import hessian_of, needed_hessians
from crdiff.pruning.copies import free_bytes, margin
from crdiff.pruning.criterion import Criterion, GroupSparsity, LinearCall, Observer, Pruning, check_complete
from crdiff.pruning.hessian import Matrices, exact_products
from crdiff.pruning.store import Store, WeightsState
from crdiff.pruning.surgery import Surgeon

Prune = Callable[[Surgeon, torch.Tensor, float], torch.Tensor]

_BY_RATIO, _TWO_OF_FOUR = "ratio", "two of four"
_PRUNE: dict[str, Prune] = {
    _BY_RATIO: Surgeon.by_ratio,
    _TWO_OF_FOUR: lambda surgeon, weight, ratio: surgeon.two_of_four(weight),
}
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class _Changed:
    """A layer's second weight.

    Attributes:
        ratio: that it was made for.
        weight: on the processor; None if the layer runs as it is.
        size: number of weights.
        pruned: how many of them are 0.
    """

    ratio: float
    weight: torch.Tensor | None
    size: int
    pruned: int


class SecondWeights(Pruning):
    """Layers multiply by weights of their own in the pruned pass."""

    def __init__(self, weights: Mapping[str, torch.Tensor]) -> None:
        self._weights = weights

    def wants(self, layer: Layer) -> bool:
        return layer.name in self._weights

    def weight(self, call: LinearCall) -> torch.Tensor:
        return self._weights[call.layer.name].to(call.weight.device)


class ObsDiffCriterion:
    """See Criterion. The second weights of the latest ratios are kept; a group with a new ratio is solved anew.

    Args:
        state: of the weights.
        store: of calibrations and of second weights.
        name: of the criterion, by which second weights are kept.
        by: a key of ``_PRUNE``.
        hessians: of the calibration.
        basis: see Criterion.
    """

    def __init__(self, state: WeightsState, store: Store, name: str, by: str, hessians: Matrices, basis: str) -> None:
        self._state, self._store, self._name, self._by = state, store, name, by
        self.hessians, self.prune = hessians, _PRUNE[by]
        self.basis = basis

    def observer(self, ratios: Ratios) -> Observer | None:
        known, wanted = self._known(), self._wanted(ratios)
        if known and all(one.ratio == wanted[group] for group, one in known.values()):
            return None
        return _Solving(self, wanted, known)

    def pruning(self, ratios: Ratios) -> Pruning | None:
        weights = {name: one.weight for name, (_, one) in self._known().items() if one.weight is not None}
        return SecondWeights(weights) if weights else None

    def sparsity(self, ratios: Ratios) -> Mapping[str, GroupSparsity]:
        known = self._known().values()
        return {
            group: GroupSparsity(
                sum(one.size for of, one in known if of == group), sum(one.pruned for of, one in known if of == group)
            )
            for group in GROUPS
        }

    def learn(self, layers: Mapping[str, tuple[str, _Changed]]) -> None:
        """Keep the second weights, by layer with its group; those of any other model are let go."""
        self._store.put_alone(self._name, self._state, (self.basis, dict(layers)))

    def _wanted(self, ratios: Ratios) -> Ratios:
        """The ratios by which second weights are told apart: two of four are the same at all of them but 0."""
        return Ratios(*(float(ratio > 0.0) / 2 for ratio in ratios)) if self._by == _TWO_OF_FOUR else ratios

    def _known(self) -> Mapping[str, tuple[str, _Changed]]:
        basis, layers = self._store.known(self._name, self._state) or ("", {})
        found: Mapping[str, tuple[str, _Changed]] = layers if basis == self.basis else {}
        return found


class _Solving:
    """Makes the second weights of the layers, each once, however often it runs."""

    calls = 1

    def __init__(self, criterion: ObsDiffCriterion, ratios: Ratios, known: Mapping[str, tuple[str, _Changed]]) -> None:
        self._criterion, self._ratios = criterion, ratios
        self._layers = {name: one for name, one in known.items() if one[1].ratio == ratios[one[0]]}
        self._seen: set[str] = set()
        self._surgeon: tuple[str, Surgeon | None] | None = None

    def wants(self, layer: Layer) -> bool:
        return layer.name not in self._seen

    def see(self, call: LinearCall) -> None:
        name, group = call.layer.name, call.layer.group
        self._seen.add(name)
        if name in self._layers:
            return
        ratio, size = self._ratios[group], call.weight.numel()
        changed = None if ratio == 0.0 else self._solved(call, ratio)
        pruned = 0 if changed is None else int((changed == 0).sum())
        self._layers[name] = group, _Changed(ratio, changed, size, pruned)

    def finish(self, layers: int) -> None:
        check_complete(len(self._seen), layers)
        self._criterion.learn(self._layers)

    def _solved(self, call: LinearCall, ratio: float) -> torch.Tensor:
        weight = call.weight.detach()
        kept_as = torch.float16 if weight.element_size() == 1 else weight.dtype
        _check_memory(weight.numel() * kept_as.itemsize)
        try:
            # Hosts draw in inference mode, whose tensors could not be used outside of it.
            with torch.inference_mode(False), torch.no_grad(), exact_products(weight.device):
                found = self._pruned(call, weight.float(), ratio)
                return found.to(_CPU, kept_as, copy=True)
        except torch.cuda.OutOfMemoryError as error:
            raise UnsupportedModelError(
                "There is not enough memory on the GPU to solve for the weights of obs-diff."
            ) from error

    def _pruned(self, call: LinearCall, weight: torch.Tensor, ratio: float) -> torch.Tensor:
        surgeon = self._surgeon_of(call.layer, weight)
        if surgeon is not None:
            return self._criterion.prune(surgeon, weight, ratio)
        # With the unit matrix for a Hessian it is magnitude, and nothing makes up for anything.
        return self._criterion.prune(Surgeon(torch.eye(weight.shape[1], device=weight.device)), weight, ratio)

    def _surgeon_of(self, layer: Layer, weight: torch.Tensor) -> Surgeon | None:
        """None if there is no Hessian of the layer, or none that can be inverted."""
        key = self._criterion.hessians.keys.get(layer.name)
        if key is None:
            return None
        if self._surgeon is None or self._surgeon[0] != key:
            found = hessian_of(layer, weight.shape[1], self._criterion.hessians)
            self._surgeon = key, None if found is None else _surgeon(torch.from_numpy(found).to(weight.device))
        return self._surgeon[1]


def _surgeon(hessian: torch.Tensor) -> Surgeon | None:
    try:
        return Surgeon(hessian)
    except ValueError:
        return None


def _check_memory(needed: int) -> None:
    free = free_bytes(_CPU)
    if free is not None and free - needed < margin(_CPU):
        raise UnsupportedModelError(
            "The weights of obs-diff take as much memory as the layers that it changes; there is not enough of it free."
        )


def make(state: WeightsState, store: Store, *, name: str, by: str) -> Criterion:
    """OBS-Diff for these weights.

    Args:
        state: of the weights.
        store: of calibrations and of second weights.
        name: of the criterion.
        by: ``ratio`` of each block of columns, or ``two of four`` weights wherever a ratio is not 0.

    Raises:
        MissingCalibrationError: the weights are not calibrated, or without whole Hessians.
    """
    return ObsDiffCriterion(state, store, name, by, *needed_hessians(name, state, store))
