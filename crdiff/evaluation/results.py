"""What an evaluation came to: of each size and way the means of the scores, and what they gain over the dense model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from crdiff.evaluation.images import Item, Plan
from crdiff.evaluation.metrics.metric import Distance
from crdiff.evaluation.record import Record
from crdiff.evaluation.statistics import Interval, gain_interval, mean_interval, wins
from crdiff.evaluation.ways import DENSE, Drawing
from crdiff.presets.size import Size


@dataclass(frozen=True)
class Score:
    """A way at a size by one metric.

    Attributes:
        prompts: that have been drawn with all seeds, and scored.
        mean: over them.
        gain: over the dense model, over the prompts that both have; None of the dense model itself.
        wins: share of these prompts in which it is better.
    """

    prompts: int
    mean: Interval
    gain: Interval | None
    wins: float | None


@dataclass(frozen=True)
class WayResult:
    """A way at a size.

    Attributes:
        drawing: the way.
        images: drawn so far.
        seconds: an image took, on average; None if none was drawn.
        scores: by metric.
        distances: of all its images from a reference, by metric; lower is better.
    """

    drawing: Drawing
    images: int
    seconds: float | None
    scores: Mapping[str, Score]
    distances: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            **self.drawing.to_dict(),
            "images": self.images,
            "seconds": self.seconds,
            "scores": {name: asdict(score) for name, score in self.scores.items()},
            "distances": dict(self.distances),
        }


@dataclass(frozen=True)
class Results:
    """Of an evaluation.

    Attributes:
        identity: the model and how it is drawn with.
        plan: what is compared.
        sizes: the ways of each.
    """

    identity: Mapping[str, Any]
    plan: Plan
    sizes: Mapping[Size, Sequence[WayResult]]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "crdiff_report": 1,
            "drawn_with": dict(self.identity),
            "prompts": len(self.plan.prompts),
            "seeds": list(self.plan.seeds),
            "sizes": {str(size): [way.to_dict() for way in ways] for size, ways in self.sizes.items()},
        }


def results_of(
    plan: Plan, record: Record, metrics: Sequence[str], distances: Sequence[Distance] = ()
) -> Results:  # fmt: skip
    """What has been drawn so far, in figures.

    Args:
        plan: what is compared.
        record: what has been drawn and scored.
        metrics: names of the scores.
        distances: of a way's images at a size from a reference.

    Raises:
        ScoringError: the reference of one of the distances cannot be read.
    """
    found: dict[Size, list[WayResult]] = {}
    for size, drawings in plan.drawings.items():
        dense = next((drawing for drawing in drawings if drawing.way == DENSE), None)
        found[size] = [_way(plan, record, size, drawing, dense, metrics, distances) for drawing in drawings]
    return Results(record.identity, plan, found)


def _way(
    plan: Plan, record: Record, size: Size, drawing: Drawing, dense: Drawing | None, metrics: Sequence[str],
    distances: Sequence[Distance],
) -> WayResult:  # fmt: skip
    items = [Item(size, drawing, prompt, seed) for prompt in plan.prompts for seed in plan.seeds]
    drawn = [item for item in items if record.entry(item).drawn]
    seconds = float(np.mean([record.entry(item).seconds for item in drawn])) if drawn else None
    scores: dict[str, Score] = {}
    for metric in metrics:
        own = _by_prompt(plan, record, size, drawing, metric)
        if not own:
            continue
        others = {} if dense is None or dense == drawing else _by_prompt(plan, record, size, dense, metric)
        both = [number for number in own if number in others]
        pair = [own[number] for number in both], [others[number] for number in both]
        gain, share = (gain_interval(*pair), wins(*pair)) if both else (None, None)
        scores[metric] = Score(len(own), mean_interval(list(own.values())), gain, share)
    return WayResult(drawing, len(drawn), seconds, scores, _distances(record, drawn, distances))


def _distances(record: Record, items: Sequence[Item], distances: Sequence[Distance]) -> dict[str, float]:
    found = {}
    for one in distances:
        kept = [features for item in items if (features := record.features(item, one.name)) is not None]
        value = one.distance(np.stack(kept)) if kept else None
        if value is not None:
            found[one.name] = value
    return found


def _by_prompt(plan: Plan, record: Record, size: Size, drawing: Drawing, metric: str) -> dict[int, float]:
    """The mean over the seeds of each prompt, by its number, of those that have all seeds."""
    found: dict[int, float] = {}
    for number, prompt in enumerate(plan.prompts):
        scores = [record.entry(Item(size, drawing, prompt, seed)).scores.get(metric) for seed in plan.seeds]
        whole = [score for score in scores if score is not None]
        if len(whole) == len(scores):
            found[number] = float(np.mean(whole))
    return found
