"""SSIM to the dense image: how much of its structure an image keeps (Wang et al., IEEE TIP 13(4), 2004)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image

from crdiff.scoring.errors import ScoringError
from crdiff.scoring.inference import finite
from crdiff.scoring.preprocessing import check_images

WINDOW = 11
"""Side of the Gaussian window, which has to fit into the image."""


class SsimScorer:
    """Mean structural similarity over the red, green and blue channels, -1 to 1; needs no model."""

    name = "ssim"
    highest: float | None = 1.0
    needs_dense = True

    def available(self) -> str | None:
        if find_spec("skimage") is None:
            return "SSIM needs the Python package scikit-image, which WebUIs bring along."
        return None

    def load(self, device: torch.device | str = "cpu") -> None:
        """Nothing to load; it is computed on the CPU."""

    def prepare(self, prompt: str, dense: Image | None = None) -> NDArray[np.float64]:
        """The dense image ``[h, w, 3]`` float64 in 0..1."""
        if dense is None:
            raise ScoringError("SSIM compares with the dense image, and there is none.")
        return _values(dense)

    def score(self, prepared: NDArray[np.float64], images: Sequence[Image]) -> list[float]:
        check_images(images)
        return finite([ssim(prepared, _values(image)) for image in images], self.name)

    def close(self) -> None:
        """Nothing to free."""


def ssim(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """SSIM of two images ``[h, w, c]`` float64 in 0..1, over all positions where the whole window fits.

    Raises:
        ScoringError: their sizes differ, or are less than the window's.
    """
    # Imported here: importing it takes a moment, and few searches need it.
    from skimage.metrics import structural_similarity

    if first.shape != second.shape:
        sizes = [f"{height}x{width}" for height, width, _ in (first.shape, second.shape)]
        raise ScoringError(f"SSIM needs images of the same size, not {sizes[0]} and {sizes[1]}.")
    if min(first.shape[:2]) < WINDOW:
        raise ScoringError(f"SSIM needs images of at least {WINDOW}x{WINDOW}.")
    # The window and constants of the paper.
    paper: dict[str, Any] = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return float(structural_similarity(first, second, data_range=1.0, channel_axis=-1, **paper))


def _values(image: Image) -> NDArray[np.float64]:
    return np.asarray(image.convert("RGB"), dtype=np.float64) / 255
