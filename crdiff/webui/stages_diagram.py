"""A small diagram of ratios and k over the steps, for a schedule of several stages."""

from __future__ import annotations

from itertools import pairwise

from crdiff.checks import exact
from crdiff.method.groups import GROUPS
from crdiff.method.schedule import MAX_K, MIN_K, Schedule, Stage

_LEFT, _WIDTH = 34, 280
_ROW, _GAP = 18, 3
_AXIS_Y = (len(GROUPS) + 1) * (_ROW + _GAP)
_NARROW = 28
"""Units of width below which a number does not fit; the tooltip has it."""


def draw_stages(schedule: Schedule, k: float) -> str:
    """An inline SVG in the page's text colour; a bar's height is the ratio, or where k lies in its range.

    Each stage is a group with its place in ``data-crdiff-stage``, by which the page's script lets one be chosen.

    Args:
        schedule: has at least two stages.
        k: of the stages that have none of their own.
    """
    stages = schedule.with_k(k).stages
    ends = [*(stage.start for stage in stages), 1.0]
    names = "".join(
        f'<text x="0" y="{_baseline(row)}" font-size="10" fill="currentColor">{name}</text>'
        for row, name in enumerate((*GROUPS, "k"))
    )
    drawn = "".join(
        _stage(place, stage, start, end) for place, (stage, (start, end)) in enumerate(zip(stages, pairwise(ends)))
    )
    label = "Ratios and k over the steps: " + "; ".join(map(_told, stages))
    return (
        f'<svg class="crdiff-stages" viewBox="0 0 {_LEFT + _WIDTH + 2} {_AXIS_Y + 12}" role="group" '
        f'aria-label="{label}">{names}{drawn}</svg>'
    )


def _stage(place: int, stage: Stage, start: float, end: float) -> str:
    x, width = _LEFT + _WIDTH * start, _WIDTH * (end - start)
    heights = [*stage.ratios, ((stage.k or 0.0) - MIN_K) / (MAX_K - MIN_K)]
    numbers = [*stage.ratios, stage.k or 0.0]
    shapes = []
    for row, (height, number) in enumerate(zip(heights, numbers)):
        bottom, tall = (row + 1) * (_ROW + _GAP) - _GAP, _ROW * height
        shapes.append(
            f'<rect x="{x:.1f}" y="{bottom - tall:.1f}" width="{width:.1f}" height="{tall:.1f}" fill="currentColor" '
            'fill-opacity="0.3"/>'
        )
        if width >= _NARROW:
            shapes.append(_text(x + width / 2, _baseline(row), f"{number:.3g}"))
    if width >= _NARROW:
        shapes.append(_text(x, _AXIS_Y + 9, f"{start:.3g}", "start"))
    # Drawn last, so that all of the stage takes the pointer.
    shapes.append(
        f'<rect class="crdiff-stage-frame" x="{x:.1f}" y="0" width="{width:.1f}" height="{_AXIS_Y}" fill="transparent" '
        'stroke="currentColor" stroke-opacity="0.4"/>'
    )
    told = f"Stage {place + 1}: {_told(stage)}"
    return (
        f'<g data-crdiff-stage="{place}" tabindex="0" role="button" aria-label="{told}"><title>{told}</title>'
        f"{''.join(shapes)}</g>"
    )


def _told(stage: Stage) -> str:
    ratios = ", ".join(f"{group} {exact(stage.ratios[group])}" for group in GROUPS)
    return f"{ratios}, k {exact(stage.k or 0.0)} from {exact(stage.start)}"


def _baseline(row: int) -> float:
    return row * (_ROW + _GAP) + 13


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" font-size="10" fill="currentColor">{text}</text>'
