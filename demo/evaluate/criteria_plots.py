"""What criteria make of the model, as two SVGs: a radar for each criterion, and the gain against the cost."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from pathlib import Path

from crdiff.pruning.registry import CRITERIA, DEFAULT_CRITERION
from demo.evaluate.cells import DENSE_NAME, Cell, Measured

COLOURS = (
    "#d9480f", "#1971c2", "#2b8a3e", "#862e9c", "#e8590c", "#0b7285", "#c2255c", "#5c940d", "#495057", "#364fc7",
    "#a61e4d", "#087f5b", "#e67700", "#5f3dc4", "#2f9e44", "#c92a2a",
)  # fmt: skip
GREY = "#888"
COLUMNS, PANEL, HEAD = 4, 210, 26
RADIUS, CENTRE, RINGS = 56, 0.25, (0.5, 0.75, 1.0)
CHART, LEGEND = 170, 18
TICK = 10
Place = tuple[float, float]


def save_radars(measured: Measured, varied: str, path: Path) -> None:
    """Of each criterion the share of captions right, an axis a size, over the dense model's and magnitude's outline.

    Args:
        measured: what was measured.
        varied: a key of ``VARIED``.
        path: of the SVG.
    """
    labels = _native(measured.labels(varied))
    sizes = [size for size in measured.sizes() if all(measured.of(size, label, varied) for label in labels)]
    rows = math.ceil(len(labels) / COLUMNS)
    about = f"captions right ({varied}), from {100 * CENTRE:.0f} % in the centre to 100 %"
    parts = [_text(8, 17, f"{about}; grey: dense, dashed: {DEFAULT_CRITERION}")]
    outlines = [(DENSE_NAME, "", GREY, ""), (DEFAULT_CRITERION, varied, "#222", "4 3")]
    for place, label in enumerate(labels):
        middle = PANEL * (place % COLUMNS + 0.5), HEAD + PANEL * (place // COLUMNS + 0.5) + 6
        parts += _rings(middle, sizes)
        for name, of, colour, dashes in outlines:
            parts += _outline(middle, [measured.of(size, name, of) for size in sizes], measured, colour, dashes)
        own = [measured.of(size, label, varied) for size in sizes]
        parts += _outline(middle, own, measured, COLOURS[place % len(COLOURS)], "", fill=True)
        parts.append(_text(middle[0], middle[1] - PANEL / 2 + 6, label, anchor="middle"))
    _save(path, COLUMNS * PANEL, HEAD + rows * PANEL, parts)


def save_gain_against_cost(measured: Measured, varied: Sequence[str], path: Path) -> None:
    """The gain over the dense model against UNet passes a step: a panel a size, a colour a criterion.

    Args:
        measured: what was measured.
        varied: keys of ``VARIED``; each has a shape of its own.
        path: of the SVG.
    """
    labels = _native(list(dict.fromkeys(label for one in varied for label in measured.labels(one))))
    cells = [cell for cell in measured.cells.values() if cell.varied in varied and cell.label in labels]
    gains = {cell.key: 100 * gain.value for cell in cells if (gain := measured.beyond_dense(cell)) is not None}
    if not gains:
        raise ValueError("There is no gain to plot: the dense model was not measured at these sizes.")
    low, high = (
        TICK * round_(edge / TICK)
        for round_, edge in ((math.floor, min(0.0, *gains.values())), (math.ceil, max(0.0, *gains.values())))
    )
    most = max(cell.passes for cell in cells) + 0.1
    sizes = [size for size in measured.sizes() if any(key[0] == size for key in gains)]
    rows = math.ceil(len(sizes) / COLUMNS)
    shapes = ", ".join(f"{'○●△'[place % 3]} {one}" for place, one in enumerate(varied))
    parts = [_text(8, 17, f"captions right beyond dense, points, against UNet passes a step; {shapes}")]
    for place, size in enumerate(sizes):
        left, top = PANEL * (place % COLUMNS) + 30, HEAD + PANEL * (place // COLUMNS)

        def at(passes: float, gain: float, left: float = left, top: float = top) -> Place:
            wide = CHART - 24
            return left + (passes - 0.9) / (most - 0.9) * wide, top + CHART - (gain - low) / (high - low) * (CHART - 26)

        parts.append(_text(left, top + 18, size))
        for gain in range(low, high + 1, TICK):
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
                spot = at(cell.passes, gains[cell.key])
                parts.append(_mark(spot, COLOURS[labels.index(cell.label) % len(COLOURS)], varied.index(cell.varied)))
    bottom = HEAD + rows * PANEL
    for place, label in enumerate(labels):
        x, y = PANEL * (place % COLUMNS) + 30, bottom + LEGEND * (place // COLUMNS + 1)
        parts += [_mark((x, y - 4), COLOURS[place % len(COLOURS)], 1), _text(x + 10, y, label)]
    _save(path, COLUMNS * PANEL, bottom + LEGEND * (math.ceil(len(labels) / COLUMNS) + 1), parts)


def _native(labels: Sequence[str]) -> list[str]:
    """Those of criteria that are calibrated at the size of training, if at all."""
    return [label for label in labels if label in CRITERIA]


def _rings(middle: Place, sizes: Sequence[str]) -> list[str]:
    parts = []
    for ring in RINGS:
        points = [_spoke(middle, place, len(sizes), ring) for place in range(len(sizes))]
        parts.append(f'<polygon points="{_points(points)}" fill="none" stroke="#ddd"/>')
    for place, size in enumerate(sizes):
        x, y = _spoke(middle, place, len(sizes), 1.0)
        parts.append(f'<line x1="{middle[0]:.1f}" y1="{middle[1]:.1f}" x2="{x:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        side = (x - middle[0]) / RADIUS
        anchor = "middle" if abs(side) < 0.1 else "start" if side > 0 else "end"
        x, y = _spoke(middle, place, len(sizes), 1.12)
        parts.append(_text(x, y + 3, size, anchor=anchor, size=9))
    return parts


def _outline(
    middle: Place, cells: Sequence[Cell | None], measured: Measured, colour: str, dashes: str, *, fill: bool = False
) -> list[str]:
    """The polygon of a criterion; sizes at which it was not measured are left out."""
    points = [
        _spoke(middle, place, len(cells), measured.right(cell).value)
        for place, cell in enumerate(cells)
        if cell is not None
    ]
    if not points:
        return []
    inside = f'fill="{colour}" fill-opacity="0.15"' if fill else 'fill="none"'
    return [
        f'<polygon points="{_points(points)}" {inside} stroke="{colour}" stroke-width="1.5" '
        f'stroke-dasharray="{dashes}"/>'
    ]


def _spoke(middle: Place, place: int, count: int, share: float) -> Place:
    angle, reach = 2 * math.pi * place / count - math.pi / 2, RADIUS * max(0.0, share - CENTRE) / (1 - CENTRE)
    return middle[0] + reach * math.cos(angle), middle[1] + reach * math.sin(angle)


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
