"""Curves of several searches as one SVG, drawn without a plotting library."""

from __future__ import annotations

import html
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 56, 110, 30, 44
COLOURS = ("#d9480f", "#1971c2", "#2b8a3e", "#862e9c")
DENSE_COLOUR = "#666"
TICKS = 5


def save_plot(curves: Mapping[str, NDArray[np.float64]], dense: float, title: str, path: Path) -> None:
    """Draws the mean curve of each strategy in a band from its worst run to its best.

    Args:
        curves: of each strategy its runs, ``[runs, evaluations]``.
        dense: the dense model's score, drawn as a line.
        title: over the plot.
        path: of the SVG.
    """
    count = max(runs.shape[1] for runs in curves.values())
    low = min(dense, *(float(runs.min()) for runs in curves.values()))
    high = max(dense, *(float(runs.max()) for runs in curves.values()))
    room = max(0.05 * (high - low), 0.005)
    low, high = low - room, high + room

    def x(number: float) -> float:
        return LEFT + (number - 1) / max(count - 1, 1) * (WIDTH - LEFT - RIGHT)

    def y(score: float) -> float:
        return HEIGHT - BOTTOM - (score - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def line(values: NDArray[np.float64]) -> str:
        return " ".join(f"{x(place + 1):.1f},{y(float(value)):.1f}" for place, value in enumerate(values))

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="18" font-size="13">{html.escape(title)}</text>',
    ]
    for score in np.linspace(low, high, TICKS):
        at = y(float(score))
        parts.append(f'<line x1="{LEFT}" y1="{at:.1f}" x2="{WIDTH - RIGHT}" y2="{at:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{score:.3f}</text>')
    for number in sorted({1, *range(5, count + 1, 5)}):
        parts.append(f'<text x="{x(number):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{number}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">evaluations</text>')
    parts.append(
        f'<line x1="{LEFT}" y1="{y(dense):.1f}" x2="{WIDTH - RIGHT}" y2="{y(dense):.1f}" stroke="{DENSE_COLOUR}" '
        'stroke-dasharray="5 4"/>'
    )
    labels = [(dense, "dense", DENSE_COLOUR)]
    for (name, runs), colour in zip(curves.items(), COLOURS):
        worst, best = line(runs.min(axis=0)), line(runs.max(axis=0)).split()
        parts.append(f'<polygon points="{worst} {" ".join(reversed(best))}" fill="{colour}" fill-opacity="0.12"/>')
        parts.append(f'<polyline points="{line(runs.mean(axis=0))}" fill="none" stroke="{colour}" stroke-width="2"/>')
        labels.append((float(runs[:, -1].mean()), name, colour))
    last = HEIGHT + 0.0
    for score, name, colour in sorted(labels):
        last = min(y(score) + 4, last - 14)
        parts.append(f'<text x="{WIDTH - RIGHT + 6}" y="{last:.1f}" fill="{colour}">{html.escape(name)}</text>')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*parts, "</svg>"]) + "\n", encoding="utf-8")
