"""The sizes that SDXL is told, replaced on their way into the model.

With the text SDXL takes the original height and width of an image, the top and left of its crop, and the height and
width wanted, each embedded as a timestep is (Podell et al., "SDXL", arXiv 2307.01952, section 2.2). Hosts pass them to
the layer ``label_emb``, diffusers to ``add_embedding``, in this order behind the pooled text.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from crdiff.errors import UnsupportedModelError
from crdiff.patching import Patch
from crdiff.presets.size import Size

_LAYERS = ("label_emb", "add_embedding")
_NUMBERS = 6
_WIDTH = 256
"""Of the embedding of one number, where a UNet's configuration does not tell."""


class SizeConditioning:
    """A patch on the layer that takes the sizes, from ``install`` to ``remove``; dormant outside of ``within``.

    The crop stays as the host sends it. What is put in is made once, so a CUDA graph holds it.

    Args:
        model: the UNet.
        size: told as the original size and as the one wanted.

    Raises:
        UnsupportedModelError: the model has no such layer; within a call, if its input holds no sizes.
    """

    def __init__(self, model: torch.nn.Module, size: Size) -> None:
        found = next((layer for name in _LAYERS if (layer := getattr(model, name, None)) is not None), None)
        if found is None:
            raise UnsupportedModelError("This model is told no sizes: switch its size conditioning off.")
        self._layer: torch.nn.Module = found
        self._width: int = getattr(getattr(model, "config", None), "addition_time_embed_dim", None) or _WIDTH
        self._size = size
        self._sides: torch.Tensor | None = None
        self._inside = False
        self._patch: Patch | None = None

    def install(self) -> None:
        """Put the patch in place, around those that are there."""
        self._patch = Patch(self._layer, "forward", self._forward)

    def remove(self) -> None:
        """Take it away."""
        if self._patch is not None:
            self._patch.remove()
            self._patch = None

    @contextmanager
    def within(self, pixels: int) -> Iterator[None]:
        """Within the block the model is told the other size, however many pixels its images have."""
        self._inside = True
        try:
            yield
        finally:
            self._inside = False

    def _forward(self, original: Callable[..., torch.Tensor], vector: torch.Tensor, *args: Any) -> torch.Tensor:
        return original(self._told(vector) if self._inside else vector, *args)

    def _told(self, vector: torch.Tensor) -> torch.Tensor:
        """The vector (n, text + 6 numbers) with other sizes in it."""
        sides = 2 * self._width
        text = vector.shape[-1] - _NUMBERS * self._width
        if text < 0:
            raise UnsupportedModelError("This model's conditioning holds no sizes: switch its size conditioning off.")
        known = self._sides
        if known is None or known.device != vector.device or known.dtype != vector.dtype:
            self._sides = known = embedded(self._size, self._width, vector.device).to(vector.dtype)
        given = known.expand(vector.shape[0], -1)
        crop = vector[:, text + sides : text + 2 * sides]
        return torch.cat([vector[:, :text], given, crop, given], dim=1)


def embedded(size: Size, width: int, device: torch.device | None = None) -> torch.Tensor:
    """Height and width, each as ``width`` sinusoids, cosines first: float32 (1, 2 * width)."""
    half = width // 2
    frequencies = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32) / half).to(device)
    angles = torch.tensor([[float(size.height)], [float(size.width)]]).to(device) * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1).reshape(1, -1)
