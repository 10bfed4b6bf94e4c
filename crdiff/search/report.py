"""What a search tells of itself: its evaluations, and where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from crdiff.search.strategies.point import Point


@dataclass(frozen=True)
class Evaluation:
    """One configuration as the search saw it.

    Attributes:
        number: counts from 1.
        point: the configuration.
        kind: ``baseline``, or the proposal's kind.
        score: the mean over all images; None if the evaluation was cut.
        at_most: the mean cannot be higher.
        scores: of each image; None where it was not needed.
        accepted: whether the strategy took it.
        repeat: whether it was measured before, at no cost.
    """

    number: int
    point: Point
    kind: str
    score: float | None
    at_most: float | None
    scores: tuple[float | None, ...]
    accepted: bool
    repeat: bool

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Evaluation:
        """The evaluation of a journal's line."""
        names = ("number", "score", "at_most", "accepted", "repeat")
        point, scores = Point.from_dict(entry["point"]), tuple(entry["scores"])
        return cls(point=point, kind=entry["type"], scores=scores, **{name: entry[name] for name in names})

    def to_dict(self) -> dict[str, Any]:
        """The evaluation as plain JSON."""
        return {
            "number": self.number,
            "point": self.point.to_dict(),
            "type": self.kind,
            "score": self.score,
            "at_most": self.at_most,
            "scores": list(self.scores),
            "accepted": self.accepted,
            "repeat": self.repeat,
        }


@dataclass(frozen=True)
class Report:
    """Where a search stands, or how it ended.

    Attributes:
        state: ``running``, ``done``, ``stopped`` or ``failed``.
        message: one sentence on why it ended.
        evaluations: configurations measured, repeats not counted.
        images: drawn, in all runs of this search.
        images_of: in one configuration.
        saved_by_racing: images not drawn because their configuration could not win.
        saved_by_repeats: images not drawn because they were known.
        seconds: spent on drawing and scoring.
        seconds_left: until the budget is used up, as far as can be told.
        baseline: the dense model's evaluation, if asked for.
        best: the evaluation with the highest mean.
        history: all evaluations so far.
        status: the strategy's own figures.
    """

    state: str = "running"
    message: str = ""
    evaluations: int = 0
    images: int = 0
    images_of: int = 0
    saved_by_racing: int = 0
    saved_by_repeats: int = 0
    seconds: float = 0.0
    seconds_left: float | None = None
    baseline: Evaluation | None = None
    best: Evaluation | None = None
    history: tuple[Evaluation, ...] = ()
    status: Mapping[str, float] = field(default_factory=dict)
