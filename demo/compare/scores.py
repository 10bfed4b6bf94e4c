"""How likely an image shows its caption, by the demo's scene scorer; or a sentence why there is no score."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

WEIGHTS = Path(__file__).resolve().parents[1] / "checkpoint" / "scene-scorer.safetensors"


class Scores:
    """Loads the scorer at the first image."""

    def __init__(self, weights: Path = WEIGHTS) -> None:
        self._weights = weights
        self._scorer: Any = None

    def of(self, images: Sequence[Image.Image], caption: str) -> tuple[list[float] | None, str]:
        """A number in [0, 1] for each image and no sentence, or None and a sentence."""
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
        try:
            return self._scorer.score([image.convert("RGB") for image in images], caption), ""
        except ValueError:
            return None, "No score: the prompt is no caption of the demo's scenes."
