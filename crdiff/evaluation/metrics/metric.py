"""The interface of a score of single images, and the scorers of the search as such scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from crdiff.scoring.prompts import plain_text
from crdiff.scoring.scorer import Scorer

if TYPE_CHECKING:
    from PIL.Image import Image


class Judge(Protocol):
    """What metrics and distances have in common."""

    @property
    def name(self) -> str:
        """In the registry, in the evaluation's folder and in reports."""
        ...

    def available(self) -> str | None:
        """One sentence why it cannot be used on this machine; None if it can."""
        ...

    def load(self, device: str) -> None:
        """Bring its model to a device.

        Raises:
            ScoringError: it cannot be loaded.
        """
        ...


class Metric(Judge, Protocol):
    """Judges an image by its prompt; higher is better."""

    def score(self, prompt: str, image: Image) -> float:
        """A finite number.

        Raises:
            ScoringError: the image cannot be scored.
        """
        ...


class Distance(Judge, Protocol):
    """Judges many images together by how far they lie from a reference; lower is better."""

    def features(self, image: Image) -> NDArray[np.float32]:
        """What is kept of an image."""
        ...

    def distance(self, features: NDArray[np.float32]) -> float | None:
        """Of the images whose features ``[n, d]`` these are; None of too few.

        Raises:
            ScoringError: the reference cannot be read.
        """
        ...


@dataclass
class Scored:
    """A scorer as a metric.

    Attributes:
        name: of the metric.
        scorer: that judges.
        scale: factor of its scores.
        seen_as: what the scorer sees of an image; None for the image itself.
    """

    name: str
    scorer: Scorer
    scale: float = 1.0
    seen_as: Callable[[Image], Image] | None = None
    _prepared: tuple[str, Any] | None = None

    def available(self) -> str | None:
        return self.scorer.available()

    def load(self, device: str) -> None:
        self.scorer.load(device)

    def score(self, prompt: str, image: Image) -> float:
        if self._prepared is None or self._prepared[0] != prompt:  # the ways of a prompt come in a row
            self._prepared = prompt, self.scorer.prepare(plain_text(prompt))
        seen = image if self.seen_as is None else self.seen_as(image)
        return self.scale * self.scorer.score(self._prepared[1], [seen])[0]


def squashed(image: Image) -> Image:
    """256 x 256 pixels whatever the shape, bicubic, as the authors prepare images (their resize_images_256.py)."""
    # Imported here: the command line starts without it.
    from PIL.Image import Resampling

    return image.convert("RGB").resize((256, 256), Resampling.BICUBIC)
