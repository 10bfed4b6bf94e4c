"""The paper's criterion: the smallest magnitudes of each group go, one threshold over all of its layers (3.3).

In transformers, and where it is chosen, each layer has a threshold of its own instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from crdiff.method.groups import Ratios
from crdiff.models.architecture import Layer
from crdiff.pruning.criterion import GroupSparsity, LinearCall, Observer, Pruning, check_complete
from crdiff.pruning.histogram import DetailBuilder, MagnitudeProfile, ProfileBuilder
from crdiff.pruning.masking import Scratch, zero_into, zero_up_to, zeroing
from crdiff.pruning.store import Store, WeightsState

NAME = "magnitude"


class ThresholdPruning(Pruning):
    """Changes the weights of the layers whose unit, a group or they alone, has a threshold."""

    def __init__(self, thresholds: Mapping[str, float]) -> None:
        self._scratch = Scratch()
        self._thresholds = thresholds

    def wants(self, layer: Layer) -> bool:
        return layer.unit in self._thresholds


class MagnitudePruning(ThresholdPruning):
    """Zeroes every weight with |w| up to its threshold."""

    def weight(self, call: LinearCall) -> torch.Tensor:
        return zero_up_to(call.weight, self._thresholds[call.layer.unit], self._scratch)

    def write(self, call: LinearCall, out: torch.Tensor) -> None:
        zero_into(out, call.weight, self._thresholds[call.layer.unit])

    def ready(self, call: LinearCall) -> Callable[[], torch.Tensor]:
        return zeroing(call.weight, self._thresholds[call.layer.unit], self._scratch)


class MagnitudeCriterion:
    """See Criterion; what it gathers is the histogram of the magnitudes, which is exact for every ratio."""

    basis = ""

    def __init__(self, state: WeightsState, store: Store, name: str = NAME) -> None:
        self._state = state
        self._store = store
        self._name = name
        self._profile = store.get(name, state, MagnitudeProfile.from_record)
        self._latest: tuple[Ratios, Pruning | None] = Ratios(), None

    def observer(self, ratios: Ratios) -> Observer | None:
        """A first look counts the magnitudes; float32 weights may need a second one for the last bits."""
        if self._profile is None:
            return _Counting(self)
        bins = self._profile.missing_bins(ratios)
        return _CountingDetail(self, self._profile, bins) if bins else None

    def pruning(self, ratios: Ratios) -> Pruning | None:
        if ratios != self._latest[0]:
            assert self._profile is not None, "the weights have not been looked at yet"
            thresholds = self._profile.thresholds(ratios)
            self._latest = ratios, self.prune(thresholds) if thresholds else None
        return self._latest[1]

    def sparsity(self, ratios: Ratios) -> Mapping[str, GroupSparsity]:
        assert self._profile is not None, "the weights have not been looked at yet"
        return self._profile.sparsity(ratios)

    def learn(self, profile: MagnitudeProfile) -> None:
        """Keep a finished profile, for this criterion and for the next one of the same weights."""
        self._profile = profile
        self._store.put(self._name, self._state, profile, profile.to_record())

    def measure(self, call: LinearCall) -> torch.Tensor:
        """What of a layer is compared with its threshold, in magnitude."""
        return call.weight

    def unit(self, layer: Layer) -> str:
        """The name of what shares the threshold of a layer."""
        return layer.unit

    def prune(self, thresholds: Mapping[str, float]) -> Pruning:
        """What the pruned pass does with the thresholds, by unit."""
        return MagnitudePruning(thresholds)


class _Looking:
    """Feeds each layer's weight to a builder once, however often the layer runs."""

    calls = 1

    def __init__(self, criterion: MagnitudeCriterion, builder: ProfileBuilder | DetailBuilder) -> None:
        self._criterion, self._builder = criterion, builder
        self._seen: set[str] = set()

    def wants(self, layer: Layer) -> bool:
        return layer.name not in self._seen

    def see(self, call: LinearCall) -> None:
        self._builder.add(call.layer.group, self._criterion.measure(call), self._criterion.unit(call.layer))
        self._seen.add(call.layer.name)


class _Counting(_Looking):
    def __init__(self, criterion: MagnitudeCriterion) -> None:
        self._coarse = ProfileBuilder()
        super().__init__(criterion, self._coarse)

    def finish(self, layers: int) -> None:
        check_complete(len(self._seen), layers)
        self._criterion.learn(self._coarse.build())


class _CountingDetail(_Looking):
    def __init__(self, criterion: MagnitudeCriterion, profile: MagnitudeProfile, bins: Mapping[str, int]) -> None:
        self._profile, self._detail = profile, DetailBuilder(bins)
        super().__init__(criterion, self._detail)

    def finish(self, layers: int) -> None:
        check_complete(len(self._seen), layers)
        self._criterion.learn(self._detail.complete(self._profile))
