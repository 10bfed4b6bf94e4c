"""What decides which weights go: the interface, and the paper's criterion, magnitude.

A criterion looks at the live weights as the UNet uses them, in passes that the caller runs for it, and then turns
a layer's live weight into its pruned one. Other criteria (Wanda's activations, Taylor scores), stored masks and
updated weights (OBS) fit the same two steps; nothing outside this package depends on how a weight is pruned.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch

from crdiff.errors import UnsupportedModelError
from crdiff.method.groups import Ratios
from crdiff.models.architecture import PrunedLayer
from crdiff.pruning.histogram import DetailBuilder, MagnitudeProfile, ProfileBuilder, Threshold
from crdiff.pruning.shrink import Scratch, zero_up_to
from crdiff.pruning.store import ProfileCache, WeightsState


class WeightUse(Protocol):
    """Sees the weight a layer is about to multiply by and returns the one it shall multiply by.

    ``weight`` is (out, in), as it stands after device move, cast, dequantisation and LoRA; it is never edited. What is
    returned may be a buffer that the next call overwrites.
    """

    def wants(self, layer: PrunedLayer) -> bool:
        """Whether it has anything to do with this layer; if not, the layer runs as it is."""

    def __call__(self, layer: PrunedLayer, weight: torch.Tensor) -> torch.Tensor: ...


class Observer(WeightUse, Protocol):
    """Looks at every layer's weight once during one pass and returns it unchanged."""

    def finish(self, layers: int) -> None:
        """End of the pass, in which ``layers`` layers should have been seen."""


class Criterion(Protocol):
    """Decides which weights are pruned, for one state of the weights."""

    def observer(self, ratios: Ratios) -> Observer | None:
        """What still has to look at the weights before ``pruning(ratios)``; None when nothing has."""

    def pruning(self, ratios: Ratios) -> WeightUse | None:
        """What prunes a layer's weight at these ratios; None if no weight would be pruned."""

    def thresholds(self, ratios: Ratios) -> Mapping[str, Threshold]:
        """What the ratios come to in each group, for reports."""


class MagnitudePruning:
    """Zeroes every weight with |w| up to its group's threshold (paper 3.3)."""

    def __init__(self, thresholds: Mapping[str, Threshold]) -> None:
        self._scratch = Scratch()
        self._values = {group: found.value for group, found in thresholds.items() if found.value is not None}

    def wants(self, layer: PrunedLayer) -> bool:
        return layer.group in self._values

    def __call__(self, layer: PrunedLayer, weight: torch.Tensor) -> torch.Tensor:
        value = self._values.get(layer.group)
        return weight if value is None else zero_up_to(weight, value, self._scratch)


class MagnitudeCriterion:
    """Prunes the smallest magnitudes of each group: one threshold a group over all of its layers."""

    def __init__(self, state: WeightsState, cache: ProfileCache) -> None:
        self._state = state
        self._cache = cache
        self._profile = cache.get(state)
        self._pruning: dict[Ratios, WeightUse | None] = {}

    def observer(self, ratios: Ratios) -> Observer | None:
        """A first look counts the magnitudes; float32 weights may need a second one for the last bits."""
        if self._profile is None:
            return _Counting(self)
        bins = self._profile.missing_bins(ratios)
        return _CountingDetail(self, self._profile, bins) if bins else None

    def pruning(self, ratios: Ratios) -> WeightUse | None:
        if ratios not in self._pruning:
            thresholds = self.thresholds(ratios)
            prunes = any(found.value is not None for found in thresholds.values())
            self._pruning[ratios] = MagnitudePruning(thresholds) if prunes else None
        return self._pruning[ratios]

    def thresholds(self, ratios: Ratios) -> Mapping[str, Threshold]:
        assert self._profile is not None, "the weights have not been looked at yet"
        return self._profile.thresholds(ratios)

    def learn(self, profile: MagnitudeProfile) -> None:
        """Keep a finished profile, for this criterion and for the next one of the same weights."""
        self._profile = profile
        self._cache.put(self._state, profile)


class _Looking:
    """Feeds each layer's weight to a builder once, however often the layer runs."""

    def __init__(self, builder: ProfileBuilder | DetailBuilder) -> None:
        self._builder = builder
        self.seen: set[str] = set()

    def wants(self, layer: PrunedLayer) -> bool:
        return layer.name not in self.seen

    def __call__(self, layer: PrunedLayer, weight: torch.Tensor) -> torch.Tensor:
        if self.wants(layer):
            self._builder.add(layer.group, weight)
            self.seen.add(layer.name)
        return weight


def _check_complete(seen: int, layers: int) -> None:
    if seen != layers:
        raise UnsupportedModelError(
            f"CR-Diff could read the weights of only {seen} of the model's {layers} prunable layers; it needs them all."
        )


class _Counting(_Looking):
    def __init__(self, criterion: MagnitudeCriterion) -> None:
        builder = ProfileBuilder()
        super().__init__(builder)
        self._criterion, self._coarse = criterion, builder

    def finish(self, layers: int) -> None:
        _check_complete(len(self.seen), layers)
        self._criterion.learn(self._coarse.build())


class _CountingDetail(_Looking):
    def __init__(self, criterion: MagnitudeCriterion, profile: MagnitudeProfile, bins: Mapping[str, int]) -> None:
        builder = DetailBuilder(bins)
        super().__init__(builder)
        self._criterion, self._profile, self._detail = criterion, profile, builder

    def finish(self, layers: int) -> None:
        _check_complete(len(self.seen), layers)
        self._criterion.learn(self._detail.complete(self._profile))
