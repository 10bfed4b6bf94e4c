"""What a Linear does in a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from crdiff.models.scope import ATTENTION, RELEASED, includes

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Region:
    """The feed-forward's part of a weight that holds attention too: what comes after the attention's part.

    Attributes:
        axis: 0 for rows, 1 for columns.
        start: where it begins, in lengths of the other axis: in Flux's ``linear1``, (3 h + m, h), at row 3 h, and in
            ``linear2``, (h, h + m), at column h.
    """

    axis: int
    start: int

    def shape(self, features: tuple[int, int]) -> tuple[int, int]:
        """Its (out, in) within a weight of these."""
        rows, columns = features
        return (rows - self.start * columns, columns) if self.axis == 0 else (rows, columns - self.start * rows)

    def of(self, weight: torch.Tensor) -> torch.Tensor:
        """A view of it within a weight, (out, in)."""
        first = self.start * weight.shape[1 - self.axis]
        return weight.narrow(self.axis, first, weight.shape[self.axis] - first)

    def of_inputs(self, inputs: torch.Tensor, width: int) -> torch.Tensor:
        """What of a layer's inputs, (..., in), it multiplies, where it has ``width`` columns."""
        return inputs[..., inputs.shape[-1] - width :]

    def within(self, weight: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
        """A new weight with ``part`` in its place, in the dtype of ``part``."""
        first = self.start * weight.shape[1 - self.axis]
        whole = part.new_empty(weight.shape)
        whole.narrow(self.axis, 0, first).copy_(weight.narrow(self.axis, 0, first))
        self.of(whole).copy_(part)
        return whole


@dataclass(frozen=True)
class Role:
    """The role of a Linear.

    Attributes:
        group: ``down``, ``mid`` or ``up``.
        block: name of the transformer block it belongs to.
        part: its name inside the block, such as ``attn1.to_q``.
        pruned: whether the method prunes it; others only tell the family.
        ends_branch: whether its output is what a branch of the block adds to the block's input.
        since: the smallest set of layers that holds it, a name in ``LAYER_SETS``.
        region: what of it smaller sets than the largest hold; None for all of it.
        one_stream: whether the block makes a tensor of a tensor, so that it can be skipped.
    """

    group: str
    block: str
    part: str
    pruned: bool = True
    ends_branch: bool = False
    since: str = RELEASED
    region: Region | None = None
    one_stream: bool = True

    def pruned_in(self, layers: str) -> bool:
        """Whether a set of layers holds it, or a region of it."""
        return self.pruned and includes(layers, self.since)

    def region_in(self, layers: str) -> Region | None:
        """What of it that set holds; None for all of it."""
        return None if layers == ATTENTION else self.region
