"""How likely an image shows its caption, by the demo's scene scorer; or a sentence why there is no score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

WEIGHTS = Path(__file__).resolve().parents[1] / "checkpoint" / "scene-scorer.safetensors"


@dataclass(frozen=True)
class Judged:
    """What the scorer says of some images of one caption.

    Attributes:
        scores: probability of the caption, 0 to 1, one for each image.
        right: whether every part of the caption was found in it, one for each image.
    """

    scores: list[float]
    right: list[bool]


class Scores:
    """Loads the scorer at the first image."""

    def __init__(self, weights: Path = WEIGHTS) -> None:
        self._weights = weights
        self._scorer: Any = None

    def of(self, images: Sequence[Image.Image], caption: str) -> tuple[Judged | None, str]:
        """What is thought of the images and no sentence, or None and a sentence."""
        if self._scorer is None:
            if not self._weights.is_file():
                return None, f"No score: {self._weights.name} is missing."
            try:
                from demo.scenes.scorer import load_scorer

                self._scorer = load_scorer(self._weights)
            except ImportError:
                return None, "No score: the demo has no scorer."
            except Exception as error:
                return None, f"No score: {self._weights.name} cannot be read ({error})."
        pixels = [np.asarray(image.convert("RGB")) for image in images]
        try:
            return Judged(*self._scorer.judge(pixels, caption)), ""
        except ValueError:
            return None, "No score: the prompt is no caption of the demo's scenes."
