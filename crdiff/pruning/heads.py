"""Whole heads of self-attention: what goes into the last layer goes in with all of a head, or not at all.

The score of a head is how much the layer's output changes without it if the other heads make up for it, the trace of
W_j ([H^-1]_jj)^-1 W_j^T over its columns j, as in Diff-ES; OBS-Diff's is near to it. What stays is not changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from crdiff.errors import UnsupportedModelError
from crdiff.method.groups import GROUPS, Ratios
from crdiff.models.architecture import Layer
from crdiff.pruning.calibrations import hessian_of, needed_hessians
from crdiff.pruning.criterion import Criterion, GroupSparsity, LinearCall, Observer, Pruning, check_complete
from crdiff.pruning.hessian import Matrices, damped, exact_products, inverse
from crdiff.pruning.scored import without
from crdiff.pruning.store import Store, WeightsState


@dataclass(frozen=True)
class _Seen:
    """A layer: its group and shape, and the scores of its heads; a layer that ends no self-attention has none."""

    group: str
    rows: int
    columns: int
    scores: tuple[float, ...] = ()

    def dropped(self, ratio: float) -> list[int]:
        """The heads that go; where the ratio comes to less than one, none does."""
        order = sorted(range(len(self.scores)), key=lambda head: (self.scores[head], head))
        # What a ratio such as 2 / 3 lacks by rounding does not cost a head.
        return order[: int(len(order) * ratio + 1e-6)]

    def mask(self, ratio: float) -> torch.Tensor:
        """(columns,), those of the heads that go."""
        heads = torch.zeros(max(len(self.scores), 1), dtype=torch.bool)
        heads[self.dropped(ratio)] = True
        return heads.repeat_interleave(self.columns // len(heads))


def head_scores(weight: torch.Tensor, hessian: torch.Tensor | None, heads: int) -> tuple[float, ...]:
    """Of each head of a layer.

    Args:
        weight: (out, in).
        hessian: of its inputs, (in, in), not damped; None, or one without an inverse, scores by squares of weights.
        heads: of equal width, side by side in the inputs.
    """
    columns = weight.detach().float().t().reshape(heads, -1, len(weight))
    found = None if hessian is None else inverse(damped(hessian))
    if found is None:
        return tuple(columns.square().sum((1, 2)).tolist())
    width = columns.shape[1]
    blocks = torch.stack([found[start : start + width, start : start + width] for start in range(0, len(found), width)])
    with exact_products(weight.device):
        return tuple((columns * torch.linalg.solve(blocks, columns)).sum((1, 2)).tolist())


class HeadsPruning(Pruning):
    """Zeroes columns.

    Args:
        columns: (in,) bool for each layer that loses some.
    """

    def __init__(self, columns: Mapping[str, torch.Tensor]) -> None:
        self._columns = columns

    def wants(self, layer: Layer) -> bool:
        return layer.name in self._columns

    def weight(self, call: LinearCall) -> torch.Tensor:
        return without(call.weight, self._columns[call.layer.name].to(call.weight.device))


class HeadsCriterion:
    """See Criterion. The ratio is the share of each layer's heads; one look at the weights serves every ratio.

    Args:
        state: of the weights.
        store: where scores are kept, in memory.
        name: of the criterion.
        hessians: of the calibration.
        basis: see Criterion.
    """

    def __init__(self, state: WeightsState, store: Store, name: str, hessians: Matrices, basis: str) -> None:
        self._state, self._store, self._key = state, store, f"{name} {basis}"
        self.hessians = hessians
        self.basis = basis

    def observer(self, ratios: Ratios) -> Observer | None:
        return _Scoring(self) if self._known() is None else None

    def pruning(self, ratios: Ratios) -> Pruning | None:
        masks = {name: seen.mask(ratios[seen.group]) for name, seen in self._layers().items()}
        columns = {name: mask for name, mask in masks.items() if bool(mask.any())}
        return HeadsPruning(columns) if columns else None

    def sparsity(self, ratios: Ratios) -> Mapping[str, GroupSparsity]:
        weights, pruned = dict.fromkeys(GROUPS, 0), dict.fromkeys(GROUPS, 0)
        for seen in self._layers().values():
            weights[seen.group] += seen.rows * seen.columns
            pruned[seen.group] += seen.rows * int(seen.mask(ratios[seen.group]).sum())
        return {group: GroupSparsity(weights[group], pruned[group]) for group in GROUPS}

    def learn(self, layers: Mapping[str, _Seen]) -> None:
        """Keep the scores, for this criterion and for the next one of the same weights."""
        self._store.put(self._key, self._state, dict(layers))

    def _known(self) -> Mapping[str, _Seen] | None:
        found: Mapping[str, _Seen] | None = self._store.known(self._key, self._state)
        return found

    def _layers(self) -> Mapping[str, _Seen]:
        layers = self._known()
        assert layers is not None, "the model has not been looked at yet"
        return layers


class _Scoring:
    """Scores the heads of each layer, once, however often it runs."""

    calls = 1

    def __init__(self, criterion: HeadsCriterion) -> None:
        self._criterion = criterion
        self._layers: dict[str, _Seen] = {}

    def wants(self, layer: Layer) -> bool:
        return layer.name not in self._layers

    def see(self, call: LinearCall) -> None:
        layer, (rows, columns) = call.layer, call.weight.shape
        scores: tuple[float, ...] = ()
        if layer.heads and columns % layer.heads == 0:
            found = hessian_of(layer, columns, self._criterion.hessians)
            hessian = None if found is None else torch.from_numpy(found).to(call.weight.device)
            scores = head_scores(call.weight, hessian, layer.heads)
        self._layers[layer.name] = _Seen(layer.group, rows, columns, scores)

    def finish(self, layers: int) -> None:
        check_complete(len(self._layers), layers)
        if not any(seen.scores for seen in self._layers.values()):
            raise UnsupportedModelError("CR-Diff cannot tell the heads of this model's self-attention.")
        self._criterion.learn(self._layers)


def make(state: WeightsState, store: Store, *, name: str) -> Criterion:
    """Heads of these weights.

    Raises:
        MissingCalibrationError: the weights are not calibrated, or without whole Hessians.
    """
    return HeadsCriterion(state, store, name, *needed_hessians(name, state, store))
