"""Images as the models see them: the transform of the image-reward package and of CLIP, bit by bit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from crdiff.scoring.errors import ScoringError

SIDE = 224
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
"""Mean and deviation of CLIP's training images, for values in 0..1 (openai/CLIP, clip.py)."""


def as_pixels(images: Sequence[Image.Image], side: int = SIDE) -> Tensor:
    """Float32 ``[n, 3, side, side]``, normalised: shorter side resized (bicubic), centre cut out, RGB, CLIP's mean/std.

    Raises:
        ScoringError: something in the list is not a PIL image.
    """
    check_images(images)
    cut = np.stack([np.asarray(_centre(image, side), dtype=np.uint8) for image in images])
    pixels = torch.from_numpy(cut).permute(0, 3, 1, 2).contiguous().to(torch.float32).div(255)
    mean = torch.tensor(MEAN, dtype=torch.float32).view(3, 1, 1)
    std = torch.tensor(STD, dtype=torch.float32).view(3, 1, 1)
    return pixels.sub_(mean).div_(std)


def check_images(images: Sequence[object]) -> None:
    """Refuse what is not a list of PIL images.

    Raises:
        ScoringError: naming the first thing that is not.
    """
    for number, image in enumerate(images, 1):
        if not isinstance(image, Image.Image):
            raise ScoringError(f"Image {number} to score is not a PIL image but {type(image).__name__}.")


def _centre(image: Image.Image, side: int) -> Image.Image:
    """RGB ``side`` x ``side``; the order (resize, cut, RGB) and the rounding are torchvision's."""
    width, height = image.size
    short, long = min(width, height), max(width, height)
    if short != side:
        stretched = int(side * long / short)
        size = (side, stretched) if width <= height else (stretched, side)
        image = image.resize(size, Image.Resampling.BICUBIC)
    width, height = image.size
    top, left = round((height - side) / 2.0), round((width - side) / 2.0)
    return image.crop((left, top, left + side, top + side)).convert("RGB")
