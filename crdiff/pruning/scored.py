"""Criteria that score every weight, and leave out those with the smallest scores of a row, a layer or a group.

Scores are computed anew whenever weights are counted or masked, by one function: then both see the same bits, and a
threshold is all that has to be kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from crdiff.method.groups import GROUPS, Ratios
from crdiff.models.architecture import Layer
from crdiff.pruning.criterion import GroupSparsity, LinearCall, Observer, Pruning, check_complete
from crdiff.pruning.magnitude import MagnitudeCriterion, ThresholdPruning
from crdiff.pruning.store import Store, WeightsState

Score = Callable[[LinearCall], torch.Tensor]
"""(out, in) float32, at least 0 and a function of the call's layer and weight alone; the same bits each time."""

Cut = Callable[[torch.Tensor, float], "torch.Tensor | None"]
"""From the scores of a layer and the ratio to the threshold up to which, inclusively, they are left out: broadcasts to
(out, in). None leaves nothing out."""


def of_rows(scores: torch.Tensor, ratio: float) -> torch.Tensor | None:
    """(out, 1): in each row as many as the ratio says, at least; ties go together."""
    rank = int(scores.shape[1] * ratio)
    return _smallest(scores, rank)[:, None] if rank else None


def of_layer(scores: torch.Tensor, ratio: float) -> torch.Tensor | None:
    """(1, 1): of the layer as many as the ratio says, at least; ties go together."""
    rank = int(scores.numel() * ratio)
    return _smallest(scores.reshape(1, -1), rank)[:, None] if rank else None


def _smallest(scores: torch.Tensor, rank: int) -> torch.Tensor:
    """The ``rank``-th smallest of each row."""
    # Not every backend can select.
    on = scores if scores.device.type in ("cpu", "cuda") else scores.cpu()
    return on.kthvalue(rank, dim=1).values.to(scores.device)


class ScoredPruning(Pruning):
    """Zeroes every weight whose score does not exceed the threshold for it.

    Args:
        score: of a layer's weights.
        thresholds: by layer; layers without one run as they are.
    """

    def __init__(self, score: Score, thresholds: Mapping[str, torch.Tensor]) -> None:
        self._score, self._thresholds = score, thresholds

    def wants(self, layer: Layer) -> bool:
        return layer.name in self._thresholds

    def weight(self, call: LinearCall) -> torch.Tensor:
        scores = self._score(call)
        return without(call.weight, scores <= self._thresholds[call.layer.name].to(scores.device))


class _GroupPruning(ThresholdPruning):
    """The same with a threshold for each group."""

    def __init__(self, score: Score, thresholds: Mapping[str, float]) -> None:
        super().__init__(thresholds)
        self._score = score

    def wants(self, layer: Layer) -> bool:
        return layer.group in self._thresholds

    def weight(self, call: LinearCall) -> torch.Tensor:
        return without(call.weight, self._score(call) <= self._thresholds[call.layer.group])


def without(weight: torch.Tensor, pruned: torch.Tensor) -> torch.Tensor:
    """A weight with zeros where it is pruned; fp8 comes back as fp16, which can be computed with."""
    weight = weight.to(torch.float16) if weight.element_size() == 1 else weight
    return weight.masked_fill(pruned, 0.0)


@dataclass(frozen=True)
class _Found:
    """What ratios come to."""

    thresholds: Mapping[str, torch.Tensor]
    sparsity: Mapping[str, GroupSparsity]


class ScoredCriterion:
    """See Criterion. New ratios take another look at the weights, whose scores are not kept.

    Args:
        state: of the weights.
        store: where thresholds are kept, in memory.
        name: of the criterion, by which they are kept.
        score: of a layer's weights.
        cut: from scores to thresholds.
        basis: see Criterion.
        among: the layers whose weights it leaves out.
    """

    def __init__(
        self,
        state: WeightsState,
        store: Store,
        name: str,
        score: Score,
        cut: Cut = of_layer,
        basis: str = "",
        among: Callable[[Layer], bool] = lambda layer: True,
    ) -> None:
        self._state, self._store = state, store
        self._among = among
        self._name, self._score, self._cut = name, score, cut
        self.basis = basis

    def observer(self, ratios: Ratios) -> Observer | None:
        return None if self._known(ratios) is not None else _Cutting(self, ratios)

    def pruning(self, ratios: Ratios) -> Pruning | None:
        thresholds = self._found(ratios).thresholds
        return ScoredPruning(self._score, thresholds) if thresholds else None

    def sparsity(self, ratios: Ratios) -> Mapping[str, GroupSparsity]:
        return self._found(ratios).sparsity

    def threshold(self, call: LinearCall, ratio: float) -> tuple[torch.Tensor | None, int]:
        """The threshold of a layer, and how many of its weights do not exceed it."""
        if ratio == 0.0 or not self._among(call.layer):
            return None, 0
        scores = self._score(call)
        threshold = self._cut(scores, ratio)
        return threshold, 0 if threshold is None else int((scores <= threshold).sum())

    def learn(self, ratios: Ratios, found: _Found) -> None:
        """Keep what ratios come to, for this criterion and for the next one of the same weights."""
        self._store.put(self._key(ratios), self._state, found)

    def _key(self, ratios: Ratios) -> str:
        return f"{self._name} {self.basis} {tuple(ratios)}"

    def _known(self, ratios: Ratios) -> _Found | None:
        found: _Found | None = self._store.known(self._key(ratios), self._state)
        return found

    def _found(self, ratios: Ratios) -> _Found:
        found = self._known(ratios)
        assert found is not None, "the weights have not been looked at yet"
        return found


class _Cutting:
    """Finds the thresholds of all layers, each once, however often it runs."""

    calls = 1

    def __init__(self, criterion: ScoredCriterion, ratios: Ratios) -> None:
        self._criterion, self._ratios = criterion, ratios
        self._seen: set[str] = set()
        self._thresholds: dict[str, torch.Tensor] = {}
        self._weights, self._pruned = dict.fromkeys(GROUPS, 0), dict.fromkeys(GROUPS, 0)

    def wants(self, layer: Layer) -> bool:
        return layer.name not in self._seen

    def see(self, call: LinearCall) -> None:
        layer, ratio = call.layer, self._ratios[call.layer.group]
        self._seen.add(layer.name)
        self._weights[layer.group] += call.weight.numel()
        threshold, pruned = self._criterion.threshold(call, ratio)
        if threshold is not None:
            self._thresholds[layer.name] = threshold
            self._pruned[layer.group] += pruned

    def finish(self, layers: int) -> None:
        check_complete(len(self._seen), layers)
        sparsity = {group: GroupSparsity(self._weights[group], self._pruned[group]) for group in GROUPS}
        self._criterion.learn(self._ratios, _Found(self._thresholds, sparsity))


class GroupScoredCriterion(MagnitudeCriterion):
    """See Criterion; one threshold over all layers of a group, from a histogram of the scores that serves every ratio.

    Args:
        state: of the weights.
        store: where the histogram is kept.
        name: of the criterion, by which it is kept.
        score: of a layer's weights.
        basis: see Criterion.
    """

    def __init__(self, state: WeightsState, store: Store, name: str, score: Score, basis: str) -> None:
        super().__init__(state, store, f"{name}-{basis}")
        self._score = score
        self.basis = basis

    def measure(self, call: LinearCall) -> torch.Tensor:
        return self._score(call)

    def unit(self, layer: Layer) -> str:
        """Of this criterion always the group."""
        return layer.group

    def prune(self, thresholds: Mapping[str, float]) -> Pruning:
        return _GroupPruning(self._score, thresholds)
