"""The demo's verdicts as a score: 1 for an image of which the classifier finds every part of the caption, else 0."""

from __future__ import annotations

from demo.score import close, right

__all__ = ["HIGHEST", "close", "score"]

HIGHEST = 1.0


def score(images: list, prompt: str) -> list[float]:
    """1.0 for right, 0.0 for wrong; only captions of the demo's world are known."""
    return [float(one) for one in right(images, prompt)]
