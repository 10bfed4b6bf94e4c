"""What a comparison came to: the images of each way, their scores, and which way won how often."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import fsum
from typing import Any

from PIL.Image import Image

from crdiff.search.fresh import Gain
from crdiff.webui.compare.ways import DENSE, WAYS


@dataclass(frozen=True)
class Drawn:
    """One image, and what the host says of it."""

    image: Image
    infotext: str
    prompt: str
    negative_prompt: str
    seed: int
    subseed: int


@dataclass
class Column:
    """The images of one way, one for each seed.

    Attributes:
        way: a name in ``WAYS``.
        images: in the order of the seeds.
        seconds: for all of them together.
        passes: UNet passes for each of the host's own; None where they are not known.
        origin: where CR-Diff's ratios came from; empty if it did not act.
        scores: one for each image; None without a scorer.
        right: whether each image is right, where the scorer can tell.
        candidates: where the best of several is yet to be taken, the images of each of their seeds; else empty.
    """

    way: str
    images: list[Drawn]
    seconds: float
    passes: float | None = None
    origin: str = ""
    scores: list[float] | None = None
    right: list[bool] | None = None
    candidates: list[list[Drawn]] = field(default_factory=list)

    @property
    def label(self) -> str:
        """Its name for users."""
        return WAYS[self.way].label

    @property
    def mean(self) -> float | None:
        """Mean score; None without one."""
        return None if self.scores is None else fsum(self.scores) / len(self.scores)

    @property
    def verdict(self) -> str:
        """How many images are right, in words; empty where nobody can tell."""
        return "" if self.right is None else f"{sum(self.right)} of {len(self.images)} right"


@dataclass
class Comparison:
    """All columns, and what there is to say about them."""

    columns: list[Column] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)

    def say(self, sentence: str) -> None:
        """Add a sentence, once."""
        if sentence and sentence not in self.sentences:
            self.sentences.append(sentence)

    @property
    def rows(self) -> int:
        """Seeds of which at least one way has an image."""
        return max((len(column.images) for column in self.columns), default=0)

    @property
    def pixels(self) -> int:
        """Of all images together."""
        return sum(one.image.width * one.image.height for column in self.columns for one in column.images)

    @property
    def seeds(self) -> list[str]:
        """The seed of each row, with that of its variation where rows have the same."""
        images = max((column.images for column in self.columns), key=len, default=[])
        seeds = [one.seed for one in images]
        return [
            str(one.seed) if seeds.count(one.seed) == 1 else f"{one.seed}, variation {one.subseed}" for one in images
        ]

    def cells(self) -> Iterator[tuple[Column, int]]:
        """Column and row of each image, row by row."""
        for row in range(self.rows):
            for column in self.columns:
                if row < len(column.images):
                    yield column, row

    def wins(self, column: Column) -> int:
        """The seeds at which no other image scores as high, of those that every way has an image of."""
        scored = [list(zip(one.images, one.scores)) for one in self.columns if one.scores is not None]
        if column.scores is None or len(scored) < 2:
            return 0
        rows = zip(zip(column.images, column.scores), *scored)
        # The best of several may be the dense image itself.
        return sum(all(own[1] > one[1] for one in every if one[0] is not own[0]) for own, *every in rows)

    def judge(self) -> None:
        """Say which way scores better than dense how often, and by how much."""
        dense = next((column.scores for column in self.columns if column.way == DENSE), None)
        for column in self.columns:
            if dense is None or column.way == DENSE or column.scores is None:
                continue
            differences = [own - base for own, base in zip(column.scores, dense)]
            better, worse = sum(one > 0 for one in differences), sum(one < 0 for one in differences)
            if not better and not worse:
                self.say(f"{column.label} scores the same as dense at every seed.")
                continue
            text = f"{column.label} scores higher than dense at {better} of {len(differences)} seeds, lower at {worse}"
            if len(differences) > 1:
                gain = Gain.of(differences)
                spread = f"95 % interval {gain.low:+.3f} to {gain.high:+.3f}"
                text += f"; on average {gain.value:+.3f} ({'the same at each' if gain.low == gain.high else spread})"
            self.say(f"{text}.")

    def summary(self) -> dict[str, Any]:
        """For the API's ``info``."""
        return {"columns": [self._told(column) for column in self.columns], "sentences": list(self.sentences)}

    def _told(self, column: Column) -> dict[str, Any]:
        return {
            "way": column.way,
            "name": column.label,
            "seconds": round(column.seconds, 3),
            "passes": column.passes,
            "scores": column.scores,
            "mean": column.mean,
            "wins": None if column.scores is None else self.wins(column),
            "right": column.right,
            "origin": column.origin,
        }
