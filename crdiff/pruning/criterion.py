"""The interface of a pruning criterion: what decides which weights the pruned pass leaves out.

A criterion looks at the layers as the model runs them, in passes that the caller makes for it, and then says what the
pruned pass does differently: a layer multiplies by another weight, its product is scaled, or a whole transformer block
is skipped. Nothing outside a criterion's own file depends on how it decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from crdiff.errors import UnsupportedModelError

if TYPE_CHECKING:
    import torch

    from crdiff.method.groups import Ratios
    from crdiff.models.architecture import Layer


@dataclass(frozen=True)
class LinearCall:
    """A layer about to compute. Nothing in it may be written to.

    Attributes:
        layer: which.
        weight: (out, in), as it stands after device move, cast, dequantisation and LoRA.
        input: (..., in), in the dtype the layer computes in; None where only a file is read.
    """

    layer: Layer
    weight: torch.Tensor
    input: torch.Tensor | None = None

    def part(self) -> LinearCall:
        """What of it may be pruned, where that is a region of the weight."""
        region = self.layer.region
        if region is None:
            return self
        weight = region.of(self.weight)
        given = None if self.input is None else region.of_inputs(self.input, weight.shape[1])
        return LinearCall(self.layer, weight, given)


class Pruning:
    """What the pruned pass does differently at given ratios; here nothing. Criteria override what they need.

    What it returns is read by the caller and never written to, so it may be stored, or a buffer that the next call
    overwrites.

    Attributes:
        changes: counts how often what ``ready`` has given was superseded by something quicker.
    """

    changes: int = 0

    def wants(self, layer: Layer) -> bool:
        """Whether this layer differs from the dense pass; if not, it runs as it is."""
        return False

    def weight(self, call: LinearCall) -> torch.Tensor:
        """The weight, (out, in), that a layer it wants multiplies by; a function of the call's layer and weight."""
        return call.weight

    def write(self, call: LinearCall, out: torch.Tensor) -> None:
        """Put ``weight(call)`` into ``out``, which has its shape, dtype and device and is not the call's weight."""
        out.copy_(self.weight(call))

    def ready(self, call: LinearCall) -> Callable[[], torch.Tensor] | None:
        """Gives ``weight(call)`` as often as it is called, while the layer's weight is what it is now; there is no
        input in the call. None where ``weight`` has to be asked each time.
        """
        return partial(self.weight, call)

    def factor(self, layer: Layer) -> float | None:
        """What a layer it wants multiplies its weight by, which then stays as it is; None asks ``weight``."""
        return None

    def residual(self, block: str) -> float:
        """What a transformer block's contribution to its input is multiplied by: 1 as it is, 0 skips the block."""
        return 1.0


class Watcher(Protocol):
    """Looks at layers as they compute."""

    def wants(self, layer: Layer) -> bool:
        """Whether it has anything to look at in this layer; a layer may run several times in a pass."""

    def see(self, call: LinearCall) -> None:
        """Look at a layer that is about to compute."""


class Observer(Watcher, Protocol):
    """Looks at the layers for a criterion."""

    @property
    def calls(self) -> int:
        """Denoiser calls to watch. With 1, an extra pass is run before the first pruned one; with more, that many calls
        are watched while they are computed densely, as without CR-Diff.
        """

    def finish(self, layers: int) -> None:
        """All calls are over, in which ``layers`` layers should have been seen.

        Raises:
            UnsupportedModelError: they have not.
        """


@dataclass(frozen=True)
class GroupSparsity:
    """What a ratio comes to in one group.

    Attributes:
        weights: number of weights of the group.
        pruned: how many of them the pruned pass leaves out.
        threshold: the magnitude up to which, inclusively, weights are pruned; None if nothing is, or if the criterion
            does not go by one.
    """

    weights: int
    pruned: int
    threshold: float | None = None

    @property
    def sparsity(self) -> float:
        """The share of the group's weights that is pruned."""
        return self.pruned / self.weights if self.weights else 0.0


class Criterion(Protocol):
    """Decides which weights are pruned, for one state of the weights."""

    @property
    def basis(self) -> str:
        """What it goes by beside the weights, such as a calibration, for the infotext; empty if nothing."""

    def observer(self, ratios: Ratios) -> Observer | None:
        """What still has to look at the layers before ``pruning(ratios)``; None when nothing has."""

    def pruning(self, ratios: Ratios) -> Pruning | None:
        """What the pruned pass does at these ratios; None if nothing would be pruned."""

    def sparsity(self, ratios: Ratios) -> Mapping[str, GroupSparsity]:
        """What the ratios come to in each group, for reports; empty if the criterion leaves nothing out."""


def check_complete(seen: int, layers: int) -> None:
    """Refuse a model of which only some layers could be seen.

    Raises:
        UnsupportedModelError: ``seen`` is not ``layers``.
    """
    if seen != layers:
        raise UnsupportedModelError(
            f"CR-Diff could read the weights of only {seen} of the model's {layers} prunable layers; it needs them all."
        )
