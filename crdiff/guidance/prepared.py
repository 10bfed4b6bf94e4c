"""A model made ready for a run: its layers, the plan for it, and the patches on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import torch

from crdiff.guidance.graphs import StepGraphs
from crdiff.guidance.live_weights import LiveWeights
from crdiff.guidance.shared_calls import SharedCalls
from crdiff.method.groups import Ratios
from crdiff.models.architecture import ModelLayers
from crdiff.models.family import Family
from crdiff.plan import Plan
from crdiff.pruning.copies import CopyPolicy, WeightCopies
from crdiff.pruning.criterion import Criterion, GroupSparsity, Observer, Pruning
from crdiff.pruning.linear import LayerPatches
from crdiff.pruning.mixed import Mixed
from crdiff.pruning.regions import in_regions


@dataclass(frozen=True)
class Applied:
    """What a run did with one model, for the infotext and the log.

    Attributes:
        family: of the model.
        plan: that was followed.
        ratios: in force.
        sparsity: what they came to in each group; empty if nothing was left out.
        basis: what the criterion went by beside the weights, such as a calibration; empty if nothing.
    """

    family: Family
    plan: Plan
    ratios: Ratios
    sparsity: Mapping[str, GroupSparsity]
    basis: str = ""


class Adaptation(Protocol):
    """Another way for the model to work, dense and pruned."""

    def install(self) -> None:
        """Put its patches in place, around those that are there."""

    def remove(self) -> None:
        """Take them away."""

    def within(self, pixels: int) -> AbstractContextManager[None]:
        """It acts within the block, on images of so many pixels."""


@dataclass(frozen=True)
class _Weights:
    """Weights of a run's second pass, pruned or mixed: the ratios and k that they are of, and their copies."""

    stage: tuple[Ratios, float]
    copies: WeightCopies


@dataclass
class PreparedModel:
    """A model with the weights it has now; ``remove`` leaves it as it was.

    Attributes:
        model: the UNet.
        live: its weights.
        layers: those that may be pruned.
        plan: ratios and k.
        patches: on the layers.
        criterion: what decides which weights are pruned.
        shared: the calls both passes have in common.
        policy: how many copies of pruned weights are kept; none once memory has run out.
        adaptations: that act in every pass.
        graphs: of its predictions; None if they are always computed.
        sharing: whether what the passes have in common is computed once.
    """

    model: torch.nn.Module
    live: LiveWeights
    layers: ModelLayers
    plan: Plan
    patches: LayerPatches
    criterion: Criterion
    shared: SharedCalls
    policy: CopyPolicy
    adaptations: Sequence[Adaptation] = ()
    graphs: StepGraphs | None = None
    sharing: bool = True
    _weights: dict[bool, _Weights] = field(default_factory=dict)
    """By whether they are mixed."""
    _stage: tuple[Ratios, float] | None = None
    _observer: Observer | None = None
    _observed: int = 0

    def enter(self, ratios: Ratios, k: float) -> None:
        """The next calls have these ratios and this k: give back what they do not use."""
        if (ratios, k) == self._stage:
            return
        self._stage = ratios, k
        # With k = 1 pruned weights are all that is used, and where there are mixed ones they are not copied.
        if k == 0.0 or not any(ratios) or (k == 1.0 and True in self._weights):
            self._forget()

    def observer(self, ratios: Ratios) -> Observer | None:
        """What still has to look at the layers before ``weights(ratios)``; None when nothing has."""
        if self._observer is None:
            self._observer, self._observed = self.criterion.observer(ratios), 0
        return self._observer

    def observed(self) -> bool:
        """The observer has watched one more call; whether that was its last."""
        assert self._observer is not None
        self._observed += 1
        if self._observed < self._observer.calls:
            return False
        self._observer.finish(len(self.layers.layers))
        self._observer = None
        return True

    def weights(self, ratios: Ratios, k: float = 1.0) -> WeightCopies | None:
        """The pruned weights at these ratios, or mixed with the dense ones by k; None if nothing would be pruned."""
        known = self._weights.get(k != 1.0)
        if known is not None and known.stage == (ratios, k):
            return known.copies
        pruning = self.criterion.pruning(ratios)
        if pruning is None:
            self._forget()
            return None
        changing = in_regions(pruning if k == 1.0 else Mixed(pruning, k), self.layers.layers)
        copies = self._following(changing, None if known is None else known.copies)
        self._weights[k != 1.0] = _Weights((ratios, k), copies)
        # Of pruned and mixed weights only the mixed ones are copied: a mode that has both uses them at most steps.
        if len(self._weights) == 2:
            self._weights[False].copies.drop()
        return copies

    def _following(self, pruning: Pruning, copies: WeightCopies | None) -> WeightCopies:
        """The same copies with ``pruning`` to follow, or new ones where it changes other layers or blocks."""
        changed = frozenset(self.patches.changed(pruning))
        if copies is not None:
            if copies.changed == changed:
                copies.follow(pruning)
                return copies
            self._forget()
        return WeightCopies(pruning, changed, self.layers.layers, self.policy)

    def _forget(self) -> None:
        """Keep nothing of the ratios that were in force."""
        self._weights.clear()
        self.patches.forget()
        if self.graphs is not None:
            self.graphs.forget()

    def share(self, weights: WeightCopies) -> None:
        """Patch the calls that both passes have in common."""
        if self.sharing:
            self.shared.install(weights.changed)

    def free_memory(self) -> bool:
        """Give back all that is kept for speed, for the rest of the run; whether there was anything."""
        self.policy = CopyPolicy.NEVER
        dropped = [known.copies.drop() for known in self._weights.values()]
        graphed = self.graphs is not None and self.graphs.holding
        had = any(dropped) or self.sharing or graphed
        self.patches.forget()
        self._close_graphs()
        self.sharing = False
        self.shared.remove()
        return had

    def install(self) -> None:
        """Put the patches in place."""
        self.live.install()
        self.patches.install()
        for adaptation in self.adaptations:
            adaptation.install()

    @contextmanager
    def adapted(self, pixels: int) -> Iterator[None]:
        """Within the block all adaptations act, on images of so many pixels."""
        with ExitStack() as stack:
            for adaptation in self.adaptations:
                stack.enter_context(adaptation.within(pixels))
            yield

    def remove(self) -> None:
        """Take every patch away."""
        self._close_graphs()
        self.live.remove()
        self.shared.remove()
        self.patches.remove()
        for adaptation in self.adaptations:
            adaptation.remove()
        self._weights.clear()

    def _close_graphs(self) -> None:
        if self.graphs is not None:
            self.graphs.close()
