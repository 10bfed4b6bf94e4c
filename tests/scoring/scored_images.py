"""Images to score."""

from __future__ import annotations

import numpy as np
from PIL import Image


def image(height: int, width: int, seed: int = 0, mode: str = "RGB") -> Image.Image:
    """Smooth random colours, so that resizing keeps something of them."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC).convert(mode)
