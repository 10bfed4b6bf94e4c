"""What the scene scorer says of many images, with its uncertainty."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from demo.scenes.scene import Scene
from demo.scenes.scorer import SceneScorer, load_scorer, look

SCORER = Path(__file__).resolve().parents[1] / "checkpoint" / "scene-scorer.safetensors"
Z = 1.959964
"""Standard deviations of a 95 % interval."""


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} ({100 * self.low:.1f}-{100 * self.high:.1f})"

    def as_gain(self) -> str:
        """With signs, for a difference."""
        return f"{100 * self.value:+.1f} ({100 * self.low:+.1f} to {100 * self.high:+.1f})"


@dataclass(frozen=True)
class Verdict:
    """Each image's probability of its caption, and whether every part of it was named right."""

    scores: NDArray[np.float64]
    right: NDArray[np.bool_]

    def mean_score(self, groups: int) -> Interval:
        """The mean probability; ``groups`` images in a row (seeds of one prompt) count as one observation."""
        return mean_interval(self.scores.reshape(-1, groups).mean(axis=1))

    def share_right(self, groups: int) -> Interval:
        """The share of captions right, with the interval over prompts."""
        return mean_interval(self.right.reshape(-1, groups).mean(axis=1))


def mean_interval(values: NDArray[np.floating]) -> Interval:
    """A mean of values from 0 to 1 with its normal 95 % interval; Wilson's at the ends, where all values are alike."""
    count, mean = len(values), float(values.mean())
    if values.std() == 0.0 and mean in (0.0, 1.0):
        reach = Z**2 / (count + Z**2)
        return Interval(mean, mean * (1 - reach), mean + (1 - mean) * reach)
    half = _half(values)
    return Interval(mean, max(0.0, mean - half), min(1.0, mean + half))


def _half(values: NDArray[np.floating]) -> float:
    return Z * float(values.std(ddof=1)) / math.sqrt(len(values))


def gain_interval(values: NDArray[np.floating], others: NDArray[np.floating]) -> Interval:
    """The mean difference of values from 0 to 1, pair by pair, with its 95 % interval."""
    differences = values - others
    if differences.any():
        mean, half = float(differences.mean()), _half(differences)
        return Interval(mean, mean - half, mean + half)
    reach = mean_interval(np.zeros(len(differences))).high
    return Interval(0.0, -reach, reach)


class Judge:
    """The scorer, in batches.

    Args:
        scorer: another one than the demo's.
        device: that looks at the images.
    """

    def __init__(self, scorer: SceneScorer | None = None, device: str = "cpu") -> None:
        self._scorer, self._device = (scorer or load_scorer(SCORER)).to(device), device

    @torch.no_grad()
    def verdict(self, images: Sequence[NDArray[np.uint8]], scenes: Sequence[Scene]) -> Verdict:
        """One verdict on images ``[h, w, 3]`` of any sizes, each with its own scene."""
        x = torch.cat([look(image) for image in images]).to(self._device)
        scores = self._scorer.log_probabilities(x, scenes).exp().double().cpu().numpy()
        return Verdict(scores, self._scorer.right(x, scenes).cpu().numpy())
