"""Pictures as the models see them: the transform of the image-reward package and of CLIP, bit by bit."""

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
"""Mean and deviation of CLIP's training pictures, for values in 0..1 (openai/CLIP, clip.py)."""


def as_pixels(pictures: Sequence[Image.Image], side: int = SIDE) -> Tensor:
    """Float32 ``[n, 3, side, side]``, normalised: shorter side resized (bicubic), centre cut out, RGB, CLIP's mean/std.

    Raises:
        ScoringError: something in the list is no PIL picture.
    """
    check_pictures(pictures)
    cut = np.stack([np.asarray(_centre(picture, side), dtype=np.uint8) for picture in pictures])
    pixels = torch.from_numpy(cut).permute(0, 3, 1, 2).contiguous().to(torch.float32).div(255)
    mean = torch.tensor(MEAN, dtype=torch.float32).view(3, 1, 1)
    std = torch.tensor(STD, dtype=torch.float32).view(3, 1, 1)
    return pixels.sub_(mean).div_(std)


def check_pictures(pictures: Sequence[object]) -> None:
    """Refuse what is no list of PIL pictures.

    Raises:
        ScoringError: naming the first thing that is none.
    """
    for number, picture in enumerate(pictures, 1):
        if not isinstance(picture, Image.Image):
            raise ScoringError(f"Picture {number} to score is no PIL image but {type(picture).__name__}.")


def _centre(picture: Image.Image, side: int) -> Image.Image:
    """RGB ``side`` x ``side``; the order (resize, cut, RGB) and the rounding are torchvision's."""
    width, height = picture.size
    short, long = min(width, height), max(width, height)
    if short != side:
        stretched = int(side * long / short)
        size = (side, stretched) if width <= height else (stretched, side)
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    width, height = picture.size
    top, left = round((height - side) / 2.0), round((width - side) / 2.0)
    return picture.crop((left, top, left + side, top + side)).convert("RGB")
