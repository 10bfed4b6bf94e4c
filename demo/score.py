"""The demo's own score, in the form in which a user adds one: how probable it is that an image shows its caption."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from demo.scenes.scorer import SceneScorer, load_scorer

WEIGHTS = Path(__file__).resolve().parent / "checkpoint" / "scene-scorer.safetensors"
HIGHEST = 1.0

_loaded: list[SceneScorer] = []


def score(images: list, prompt: str) -> list[float]:
    """Probabilities, 0 to 1, that the images show the caption; only captions of the demo's world are known."""
    return _scorer().score(images, prompt)


def right(images: list, prompt: str) -> list[bool]:
    """Whether every part of the caption is found in each image."""
    return _scorer().judge([np.asarray(image.convert("RGB")) for image in images], prompt)[1]


def _scorer() -> SceneScorer:
    if not _loaded:
        _loaded.append(load_scorer(WEIGHTS))
    return _loaded[0]


def close() -> None:
    """Free the classifier."""
    _loaded.clear()
