"""The queries of a UNet's self-attention, scaled on their way out of their layer: whatever a host attends with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from crdiff.method.attention_scale import AttentionScale
from crdiff.models.architecture import Layer
from crdiff.patching import Patch

_QUERIES = "attn1.to_q"


class ScaledAttention:
    """Patches on the layers that make the queries, from ``install`` to ``remove``; dormant outside of ``within``.

    Logits are products of queries and keys, so a factor on the queries is one on the logits. Keys, values and
    cross-attention stay as they are.

    Args:
        layers: of the model.
        scale: the factor.
    """

    def __init__(self, layers: Iterable[Layer], scale: AttentionScale) -> None:
        self._modules = [layer.module for layer in layers if layer.name.endswith(_QUERIES)]
        self._scale = scale
        self._pixels = 0
        self._patches: list[Patch] = []

    def install(self) -> None:
        """Put the patches in place, around those that are there."""
        self._patches = [Patch(module, "forward", self._forward) for module in self._modules]

    def remove(self) -> None:
        """Take them away."""
        for patch in reversed(self._patches):
            patch.remove()
        self._patches = []

    @contextmanager
    def within(self, pixels: int) -> Iterator[None]:
        """Within the block the model attends scaled, for images of so many pixels."""
        self._pixels = pixels
        try:
            yield
        finally:
            self._pixels = 0

    def _forward(self, original: Callable[..., torch.Tensor], *args: Any, **kwargs: Any) -> torch.Tensor:
        queries = original(*args, **kwargs)
        factor = self._scale.of(queries.shape[-2], self._pixels) if self._pixels else 1.0
        return queries if factor == 1.0 else queries * factor
