"""The radar of the paper's Figure 8 as an SVG: the ways at a size by several metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from crdiff.evaluation.results import WayResult
from crdiff.evaluation.svg import colour, text, whole

AXES = 3
"""The fewest metrics that make a radar."""

_RADIUS, _INNER = 130.0, 0.15
_WIDTH, _HEIGHT = 780, 340


def radar(ways: Sequence[WayResult], labels: Mapping[str, str]) -> str:
    """The SVG; empty with fewer than three metrics or two ways that have all of them.

    On each axis the worst way lies near the middle and the best on the rim, as in the paper; what is lower where it is
    better is turned round. So it shows an order, and tables the figures.
    """
    scores = [{name: score.mean.value for name, score in way.scores.items()} for way in ways]
    found = [{**own, **{name: -value for name, value in way.distances.items()}} for own, way in zip(scores, ways)]
    axes = list(dict.fromkeys(name for values in found for name in values))
    every = [(way, values) for way, values in zip(ways, found) if len(values) == len(axes)]
    if len(axes) < AXES or len(every) < 2:
        return ""
    bounds = [(min(values[axis] for _, values in every), max(values[axis] for _, values in every)) for axis in axes]
    parts = [_web(axes, labels)]
    for number, (way, values) in enumerate(every):
        shares = [_share(values[axis], *bound) for axis, bound in zip(axes, bounds)]
        stroke = colour(number, len(every))
        parts.append(f'<polygon points="{_points(shares)}" fill="none" stroke="{stroke}" stroke-width="2"/>')
        parts.append(text(2 * _RADIUS + 250, 60 + 20 * number, way.drawing.way, fill=stroke))
    return whole(_WIDTH, _HEIGHT, "radar", parts)


def _share(value: float, low: float, high: float) -> float:
    """Of the radius."""
    return 1.0 if high == low else _INNER + (1.0 - _INNER) * (value - low) / (high - low)


def _web(axes: Sequence[str], labels: Mapping[str, str]) -> str:
    parts = [f'<polygon points="{_points([1.0] * len(axes))}" fill="none" stroke="currentColor" opacity="0.3"/>']
    for number, axis in enumerate(axes):
        x, y = _place(number, len(axes), 1.12)
        anchor = "middle" if abs(x - _centre()[0]) < 5 else "start" if x > _centre()[0] else "end"
        parts.append(text(x, y + 4, labels.get(axis, axis).split(" (")[0], anchor))
    return "".join(parts)


def _points(shares: Sequence[float]) -> str:
    places = [_place(number, len(shares), share) for number, share in enumerate(shares)]
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _place(number: int, of: int, share: float) -> tuple[float, float]:
    """On an axis, the first of which points up, clockwise."""
    angle = 2 * math.pi * number / of
    x, y = _centre()
    return x + share * _RADIUS * math.sin(angle), y - share * _RADIUS * math.cos(angle)


def _centre() -> tuple[float, float]:
    return _RADIUS + 130, _HEIGHT / 2
