"""What an evaluation came to: of each size and way the means of the scores, and what they gain over the dense model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from crdiff.evaluation.images import Item, Plan
from crdiff.evaluation.metrics.metric import Distance
from crdiff.evaluation.record import Record
from crdiff.evaluation.ways import DENSE, Drawing
from crdiff.intervals import Interval, gain_interval, mean_interval, wins
from crdiff.presets.size import Size


@dataclass(frozen=True)
class Score:
    """A way at a size by one metric.

    Attributes:
        prompts: that have been drawn with all seeds, and scored.
        mean: over them.
        gain: over the baseline, over the prompts that both have; None of the baseline itself.
        wins: share of these prompts in which it is better.
        best: share of the prompts that all ways have in which it is the best of them; ties are shared.
    """

    prompts: int
    mean: Interval
    gain: Interval | None
    wins: float | None
    best: float | None


@dataclass(frozen=True)
class WayResult:
    """A way at a size.

    Attributes:
        drawing: the way.
        images: there are so far.
        seconds: an image took, on average, with those that it is the best of; None if there is none.
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
        baseline: the way that gains are over: the dense model, else the first.
    """

    identity: Mapping[str, Any]
    plan: Plan
    sizes: Mapping[Size, Sequence[WayResult]]
    baseline: str

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        return {
            "crdiff_report": 1,
            "drawn_with": dict(self.identity),
            "prompts": len(self.plan.prompts),
            "seeds": list(self.plan.seeds),
            "seed_step": self.plan.seed_step,
            "baseline": self.baseline,
            "sizes": {str(size): [way.to_dict() for way in ways] for size, ways in self.sizes.items()},
        }


ByPrompt = dict[int, float]
"""A way's scores by the number of the prompt."""


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
    names = [drawing.way for drawing in next(iter(plan.drawings.values()), ())]
    baseline = DENSE if DENSE in names or not names else names[0]
    found: dict[Size, list[WayResult]] = {}
    for size, drawings in plan.drawings.items():
        scores = {
            metric: {one.way: _by_prompt(plan, record, size, one, metric) for one in drawings} for metric in metrics
        }
        found[size] = [_way(plan, record, size, one, baseline, scores, distances) for one in drawings]
    return Results(record.identity, plan, found, baseline)


def _way(
    plan: Plan, record: Record, size: Size, drawing: Drawing, baseline: str,
    scores: Mapping[str, Mapping[str, ByPrompt]], distances: Sequence[Distance],
) -> WayResult:  # fmt: skip
    cells = [(prompt, seed) for place, prompt in enumerate(plan.prompts) for seed in plan.seeds_at(place)]
    items = [Item(size, drawing, *cell) for cell in cells]
    taken = [(item, one) for item in items if (one := record.taken(item)) is not None and record.entry(one).drawn]
    spent = [sum(record.entry(candidate).seconds for candidate in item.candidates) for item, _ in taken]
    found = {metric: _score(ways, drawing.way, baseline) for metric, ways in scores.items() if ways[drawing.way]}
    far = _distances(record, [one for _, one in taken], distances)
    return WayResult(drawing, len(taken), float(np.mean(spent)) if spent else None, found, far)


def _score(ways: Mapping[str, ByPrompt], way: str, baseline: str) -> Score:
    own = ways[way]
    others = ways.get(baseline, {}) if way != baseline else {}
    both = [number for number in own if number in others]
    pair = [own[number] for number in both], [others[number] for number in both]
    gain, share = (gain_interval(*pair), wins(*pair)) if both else (None, None)
    everywhere = set.intersection(*(set(one) for one in ways.values()))
    shares = [(own[number] == top) / tied for number in everywhere for top, tied in [_top(ways, number)]]
    return Score(len(own), mean_interval(list(own.values())), gain, share, float(np.mean(shares)) if shares else None)


def _top(ways: Mapping[str, ByPrompt], number: int) -> tuple[float, int]:
    """The highest score of a prompt, and how many ways have it."""
    scores = [one[number] for one in ways.values()]
    return max(scores), scores.count(max(scores))


def _distances(record: Record, items: Sequence[Item], distances: Sequence[Distance]) -> dict[str, float]:
    found = {}
    for one in distances:
        kept = [features for item in items if (features := record.features(item, one.name)) is not None]
        value = one.distance(np.stack(kept)) if kept else None
        if value is not None:
            found[one.name] = value
    return found


def _by_prompt(plan: Plan, record: Record, size: Size, drawing: Drawing, metric: str) -> ByPrompt:
    """The mean over the seeds of each prompt, by its number, of those that have all seeds."""
    found: ByPrompt = {}
    for number, prompt in enumerate(plan.prompts):
        taken = [record.taken(Item(size, drawing, prompt, seed)) for seed in plan.seeds_at(number)]
        scores = [None if one is None else record.entry(one).scores.get(metric) for one in taken]
        whole = [score for score in scores if score is not None]
        if len(whole) == len(scores):
            found[number] = float(np.mean(whole))
    return found
