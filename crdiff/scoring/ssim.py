"""SSIM to the dense image: how much of its structure an image keeps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL.Image import Image
from torch import Tensor

from crdiff.scoring.errors import ScoringError
from crdiff.scoring.inference import finite
from crdiff.scoring.preprocessing import check_images

WINDOW = 11
SIGMA = 1.5
C1, C2 = 0.01**2, 0.03**2
"""Window, its deviation and the two constants for values in 0..1 (Wang et al., IEEE TIP 13(4), 2004)."""


class SsimScorer:
    """Mean structural similarity over the red, green and blue channels, -1 to 1; needs no model."""

    name = "ssim"
    highest: float | None = 1.0
    needs_dense = True

    def available(self) -> str | None:
        return None

    def load(self, device: torch.device | str = "cpu") -> None:
        """Nothing to load; it is computed on the CPU."""

    def prepare(self, prompt: str, dense: Image | None = None) -> Tensor:
        """The dense image ``[3, h, w]`` float64 in 0..1."""
        if dense is None:
            raise ScoringError("SSIM compares with the dense image, and there is none.")
        return _values(dense)

    def score(self, prepared: Tensor, images: Sequence[Image]) -> list[float]:
        check_images(images)
        return finite([ssim(prepared, _values(image)) for image in images], self.name)

    def close(self) -> None:
        """Nothing to free."""


def ssim(first: Tensor, second: Tensor) -> float:
    """SSIM of two images ``[c, h, w]`` float64 in 0..1, over all positions where the whole window fits.

    Raises:
        ScoringError: their sizes differ, or are less than the window's.
    """
    if first.shape != second.shape:
        sizes = [f"{height}x{width}" for _, height, width in (first.shape, second.shape)]
        raise ScoringError(f"SSIM needs images of the same size, not {sizes[0]} and {sizes[1]}.")
    if min(first.shape[1:]) < WINDOW:
        raise ScoringError(f"SSIM needs images of at least {WINDOW}x{WINDOW}.")
    both = torch.stack([first, second, first * first, second * second, first * second])
    x, y, xx, yy, xy = _blurred(both)
    variance_x, variance_y, covariance = xx - x * x, yy - y * y, xy - x * y
    alike = (2 * x * y + C1) * (2 * covariance + C2)
    return float((alike / ((x * x + y * y + C1) * (variance_x + variance_y + C2))).mean())


def _blurred(images: Tensor) -> Tensor:
    """Gaussian mean around every position, ``[n, c, h, w]`` to ``[n, c, h - 10, w - 10]``."""
    positions = torch.arange(WINDOW, dtype=images.dtype) - WINDOW // 2
    weights = torch.exp(-(positions**2) / (2 * SIGMA**2))
    weights /= weights.sum()
    n, c, h, w = images.shape
    flat = images.reshape(n * c, 1, h, w)
    flat = F.conv2d(F.conv2d(flat, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))
    return flat.reshape(n, c, *flat.shape[-2:])


def _values(image: Image) -> Tensor:
    return torch.from_numpy(np.array(image.convert("RGB"), dtype=np.float64)).permute(2, 0, 1) / 255
