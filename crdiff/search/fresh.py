"""The last candidates of a search on fresh image seeds: each was chosen for those that were drawn.

The best few and the start race: seed after seed is added, and whatever is worse than the leader outside its interval
drops out. What the winner gains is then measured on further seeds, for which nothing was chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TypeVar

from crdiff.intervals import mean_interval
from crdiff.search.objective import Image
from crdiff.search.report import Evaluation
from crdiff.search.strategies.point import Point, rounded

FINALISTS = 4
"""Candidates besides the start; of 2 to 5, as good as any on the demo's landscapes."""
_LEAST_PAIRS = 4
_Candidate = TypeVar("_Candidate", bound=Hashable)


@dataclass(frozen=True)
class Gain:
    """How far the best configuration scores above where the search started.

    Attributes:
        value: the mean difference, image by image.
        low: the lower end of its 95 % interval.
        high: the upper end.
        images: of each of the two.
    """

    value: float
    low: float
    high: float
    images: int

    @classmethod
    def of(cls, differences: Sequence[float]) -> Gain:
        """The mean of at least two differences, with Student's interval."""
        found = mean_interval(differences)
        assert found.low is not None and found.high is not None, "two at least"
        return cls(found.value, found.low, found.high, len(differences))

    @property
    def sentence(self) -> str:
        """For the user."""
        if self.low == self.high == 0.0:
            return f"On {self.images} images with fresh seeds it scores exactly what the start of the search does."
        spread = "each the same" if self.low == self.high else f"{self.low:+.3f} to {self.high:+.3f}"
        text = f"On {self.images} images with fresh seeds it gains {self.value:+.3f} ({spread})"
        if self.low > 0.0:
            return f"{text} over where the search started."
        return f"{text}: no better than where the search started, as far as these images tell."


def finalists(history: Sequence[Evaluation], start: Point) -> dict[Point, list[float]]:
    """The best few configurations and the start, each with the scores of the images that the search has drawn.

    These count for none if the start's are not all known.
    """
    known = {rounded(one.point): one for one in history if one.score is not None}
    others = [one for name, one in known.items() if name != rounded(start) and not one.point.is_dense]
    best = sorted(others, key=lambda one: -(one.score or 0.0))[:FINALISTS]
    first = known.get(rounded(start))
    drawn = {one.point: one.scores for one in best} | {start: first.scores if first else ()}
    return {point: [score for score in scores if first and score is not None] for point, scores in drawn.items()}


def survivors(
    candidates: Mapping[_Candidate, Sequence[float]],
    rounds: Sequence[Sequence[Image]],
    score: Callable[[_Candidate, Sequence[Image]], Sequence[float]],
) -> dict[_Candidate, list[float]]:
    """Who is left once all rounds are drawn or nobody else is, with all scores: the best, and who may be as good.

    Args:
        candidates: with the scores of the same images each, or of none.
        rounds: images to draw of every candidate that is left, such as all prompts with one more seed.
        score: draws and scores images.
    """
    scores = {point: list(seen) for point, seen in candidates.items()}
    for images in rounds:
        if len(scores) == 1:
            break
        for point, known in scores.items():
            known += score(point, images)
        leader = max(scores.values(), key=fmean)
        scores = {point: known for point, known in scores.items() if not _is_worse(known, leader)}
    return scores


def race(
    candidates: Mapping[_Candidate, Sequence[float]],
    rounds: Sequence[Sequence[Image]],
    score: Callable[[_Candidate, Sequence[Image]], Sequence[float]],
) -> _Candidate:
    """The survivor with the highest mean."""
    scores = survivors(candidates, rounds, score)
    return max(scores, key=lambda point: fmean(scores[point] or [0.0]))


def _is_worse(scores: Sequence[float], leader: Sequence[float]) -> bool:
    differences = [best - one for best, one in zip(leader, scores)]
    return len(differences) >= _LEAST_PAIRS and Gain.of(differences).low > 0.0


def fresh_seeds(seeds: Sequence[int], count: int) -> tuple[int, ...]:
    """The seeds after the largest."""
    return tuple(max(seeds) + 1 + number for number in range(count))
