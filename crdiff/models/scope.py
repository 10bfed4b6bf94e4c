"""Which of a model's layers are pruned, and what shares a threshold, where the method leaves a choice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from crdiff.models.family import Family

RELEASED = "released"
FEED_FORWARD = "feed-forward"
ATTENTION = "attention"
LAYER_SETS: Mapping[str, str] = {
    RELEASED: "what the authors' code prunes, the feed-forward of the image stream (in Flux, of the double blocks).",
    FEED_FORWARD: "the same in all blocks.",
    ATTENTION: "attention too.",
}
"""The sets of a transformer's layers, each within the next. In a UNet all are one."""

AUTO_THRESHOLD = "auto"
BY_LAYER = "layer"
BY_GROUP = "group"
THRESHOLDS: Mapping[str, str] = {
    AUTO_THRESHOLD: "as the authors' code has it, a group's in a UNet and a layer's in a transformer.",
    BY_LAYER: "each layer loses its own smallest weights.",
    BY_GROUP: "the smallest weights of all layers that share a ratio.",
}
"""Which weights criteria by magnitude compare with one another."""


@dataclass(frozen=True)
class Scope:
    """What is chosen of the two.

    Attributes:
        layers: a name in ``LAYER_SETS``.
        threshold: a name in ``THRESHOLDS``.
    """

    layers: str = RELEASED
    threshold: str = AUTO_THRESHOLD

    def within(self, family: Family) -> Scope:
        """What it comes to in models of a family, by which scopes are compared: a UNet has one set of layers, and the
        threshold that auto stands for is auto.
        """
        own = BY_LAYER if family.transformer else BY_GROUP
        layers = self.layers if family.transformer else RELEASED
        return Scope(layers, AUTO_THRESHOLD if self.threshold == own else self.threshold)

    def __str__(self) -> str:
        return f"layers {self.layers}, threshold {self.threshold}"


def includes(layers: str, since: str) -> bool:
    """Whether a set of layers holds those that are pruned from the set ``since`` on."""
    order = list(LAYER_SETS)
    return order.index(layers) >= order.index(since)
