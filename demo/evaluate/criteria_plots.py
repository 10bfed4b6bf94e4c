"""What criteria make of the model, as two SVGs: a radar for each criterion, and the gain against the cost."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crdiff.pruning.registry import CRITERIA, DEFAULT_CRITERION
from demo.evaluate.cells import Cell, Measured

COLOURS = (
    "#d9480f", "#1971c2", "#2b8a3e", "#862e9c", "#f59f00", "#0b7285", "#c2255c", "#5c940d", "#495057", "#364fc7",
    "#a61e4d", "#087f5b", "#e67700", "#5f3dc4", "#2f9e44", "#c92a2a",
)  # fmt: skip
GREY = "#888"
COLUMNS, PANEL, HEAD = 4, 210, 26
RADIUS, RING = 56, 5
CHART, LEGEND = 170, 18
TICK, BESIDE, AROUND = 10, 3.5, 0.25
_CORNERS = 3
Place = tuple[float, float]


@dataclass(frozen=True)
class _Scale:
    """Of an axis, in points."""

    low: int
    high: int

    @classmethod
    def of(cls, values: Sequence[float], tick: int) -> _Scale:
        """The least with whole ticks that holds 0 and all values, and a tick below them."""
        low, high = min(0.0, *values), max(0.0, *values)
        return cls(tick * (math.floor(low / tick) - (low == 0.0)), tick * max(math.ceil(high / tick), 1))

    def part(self, value: float) -> float:
        """Where on the axis, from 0 to 1."""
        return (value - self.low) / (self.high - self.low)


def save_radars(measured: Measured, varied: str, path: Path) -> None:
    """Of each criterion the gain over the dense model, an axis a size, over magnitude's outline.

    The sizes are those at which most criteria were measured; criteria that lack one of them are left out.

    Args:
        measured: what was measured.
        varied: a key of ``VARIED``.
        path: of the SVG.

    Raises:
        ValueError: no criterion was measured at three sizes.
    """
    labels = _native(measured.labels(varied))
    counts = {size: sum(measured.of(size, label, varied) is not None for label in labels) for size in measured.sizes()}
    sizes = [size for size, count in counts.items() if 2 * count > len(labels)]
    labels = [label for label in labels if all(measured.of(size, label, varied) for size in sizes)]
    if len(sizes) < _CORNERS or not labels:
        raise ValueError(f"For radars the same criteria have to be measured at {_CORNERS} sizes at least.")
    gains = {label: [_gain(measured, measured.of(size, label, varied)) for size in sizes] for label in labels}
    scale = _Scale.of([gain for some in gains.values() for gain in some], RING)
    about = f"captions right beyond dense, points ({varied}), from {scale.low:+d} in the centre to {scale.high:+d}"
    parts = [_text(8, 17, f"{about}; grey: 0, dashed: {DEFAULT_CRITERION}")]
    for place, label in enumerate(labels):
        middle = PANEL * (place % COLUMNS + 0.5), HEAD + PANEL * (place // COLUMNS + 0.5) + 6
        parts += _rings(middle, sizes, scale)
        colour = COLOURS[place % len(COLOURS)]
        parts.append(_outline(middle, gains[label], scale, f'fill="{colour}" fill-opacity="0.15" stroke="{colour}"'))
        if DEFAULT_CRITERION in gains:
            dashed = 'fill="none" stroke="#222" stroke-dasharray="4 3"'
            parts.append(_outline(middle, gains[DEFAULT_CRITERION], scale, dashed))
        parts.append(_text(middle[0], middle[1] - PANEL / 2 + 6, label, anchor="middle"))
    _save(path, COLUMNS * PANEL, HEAD + math.ceil(len(labels) / COLUMNS) * PANEL, parts)


def save_gain_against_cost(measured: Measured, varied: Sequence[str], path: Path) -> None:
    """The gain over the dense model against UNet passes a step: a panel a size, a colour a criterion.

    Args:
        measured: what was measured.
        varied: keys of ``VARIED``; each has a shape of its own.
        path: of the SVG.
    """
    labels = _native(list(dict.fromkeys(label for one in varied for label in measured.labels(one))))
    cells = [cell for cell in measured.cells.values() if cell.varied in varied and cell.label in labels]
    gains = {cell.key: _gain(measured, cell) for cell in cells}
    if not gains:
        raise ValueError("No criterion was measured.")
    scale = _Scale.of(list(gains.values()), TICK)
    least, most = 1.0 - AROUND, max(cell.passes for cell in cells) + AROUND
    sizes = [size for size in measured.sizes() if any(key[0] == size for key in gains)]
    rows = math.ceil(len(sizes) / COLUMNS)
    shapes = ", ".join(f"{'○●△'[place % 3]} {one}" for place, one in enumerate(varied))
    parts = [_text(8, 17, f"captions right beyond dense, points, against UNet passes a step; {shapes}")]
    for place, size in enumerate(sizes):
        left, top = PANEL * (place % COLUMNS) + 30, HEAD + PANEL * (place // COLUMNS)

        def at(passes: float, gain: float, left: float = left, top: float = top) -> Place:
            wide = CHART - 24
            return left + (passes - least) / (most - least) * wide, top + CHART - scale.part(gain) * (CHART - 26)

        parts.append(_text(left, top + 18, size))
        for gain in range(scale.low, scale.high + 1, TICK):
            y = at(1.0, gain)[1]
            parts.append(f'<line x1="{left}" y1="{y:.1f}" x2="{left + CHART - 24}" y2="{y:.1f}" stroke="#eee"/>')
            parts.append(_text(left - 3, y + 3, f"{gain:+d}", anchor="end", size=9))
        zero = at(1.0, 0.0)[1]
        parts.append(f'<line x1="{left}" y1="{zero:.1f}" x2="{left + CHART - 24}" y2="{zero:.1f}" stroke="{GREY}"/>')
        for passes in (1.0, 1.5, 2.0):
            if passes <= most:
                parts.append(_text(at(passes, 0.0)[0], top + CHART + 11, f"{passes:g}", anchor="middle", size=9))
        for cell in cells:
            if cell.size == size and cell.key in gains:
                number = labels.index(cell.label)
                x, y = at(cell.passes, gains[cell.key])
                x += BESIDE * (number - (len(labels) - 1) / 2)  # side by side, where they cost the same
                parts.append(_mark((x, y), COLOURS[number % len(COLOURS)], varied.index(cell.varied)))
    bottom = HEAD + rows * PANEL
    for place, label in enumerate(labels):
        x, y = PANEL * (place % COLUMNS) + 30, bottom + LEGEND * (place // COLUMNS + 1)
        parts += [_mark((x, y - 4), COLOURS[place % len(COLOURS)], 1), _text(x + 10, y, label)]
    _save(path, COLUMNS * PANEL, bottom + LEGEND * (math.ceil(len(labels) / COLUMNS) + 1), parts)


def _native(labels: Sequence[str]) -> list[str]:
    """Those of criteria that are calibrated at the size of training, if at all."""
    return [label for label in labels if label in CRITERIA]


def _gain(measured: Measured, cell: Cell | None) -> float:
    """Over the dense model, in points.

    Raises:
        ValueError: that was not measured.
    """
    gain = None if cell is None else measured.beyond_dense(cell)
    if gain is None:
        raise ValueError("The dense model was not measured at every size.")
    return 100 * gain.value


def _rings(middle: Place, sizes: Sequence[str], scale: _Scale) -> list[str]:
    parts = []
    for ring in range(scale.low, scale.high + 1, RING):
        stroke = f'fill="none" stroke="{"#888" if ring == 0 else "#ddd"}"'
        parts.append(_outline(middle, [ring] * len(sizes), scale, stroke))
    for place, size in enumerate(sizes):
        x, y = _spoke(middle, place, len(sizes), 1.0)
        parts.append(f'<line x1="{middle[0]:.1f}" y1="{middle[1]:.1f}" x2="{x:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        side = (x - middle[0]) / RADIUS
        anchor = "middle" if abs(side) < 0.1 else "start" if side > 0 else "end"
        x, y = _spoke(middle, place, len(sizes), 1.12)
        parts.append(_text(x, y + 3, size, anchor=anchor, size=9))
    return parts


def _outline(middle: Place, gains: Sequence[float], scale: _Scale, look: str) -> str:
    """A polygon with a corner on each axis."""
    points = [_spoke(middle, place, len(gains), scale.part(gain)) for place, gain in enumerate(gains)]
    return f'<polygon points="{_points(points)}" {look}/>'


def _spoke(middle: Place, place: int, count: int, part: float) -> Place:
    angle = 2 * math.pi * place / count - math.pi / 2
    return middle[0] + RADIUS * part * math.cos(angle), middle[1] + RADIUS * part * math.sin(angle)


def _points(places: Sequence[Place]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _mark(spot: Place, colour: str, shape: int) -> str:
    """A hollow circle, a disc or a triangle."""
    x, y = spot
    if shape % 3 == 2:
        return f'<polygon points="{_points([(x, y - 5), (x - 5, y + 4), (x + 5, y + 4)])}" fill="{colour}"/>'
    fill = colour if shape % 3 else "white"
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{fill}" stroke="{colour}" stroke-width="1.5"/>'


def _text(x: float, y: float, text: str, anchor: str = "start", size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{html.escape(text)}</text>'


def _save(path: Path, width: float, height: float, parts: Sequence[str]) -> None:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" font-family="sans-serif">'
    path.parent.mkdir(parents=True, exist_ok=True)
    white = f'<rect width="{width:.0f}" height="{height:.0f}" fill="white"/>'
    path.write_text("\n".join([head, white, *parts, "</svg>"]) + "\n", encoding="utf-8")
