"""A search as inline SVG in the page's text colour: the score as it goes, and where configurations were tried."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_PAIRS = (("down", "mid"), ("down", "up"), ("mid", "up"))


@dataclass(frozen=True)
class Mark:
    """A configuration as it is drawn.

    Attributes:
        number: counts from 1.
        score: its mean; None if its evaluation was cut.
        point: down, mid, up and k.
        baseline: whether it is the dense model.
    """

    number: int
    score: float | None
    point: Mapping[str, float]
    baseline: bool = False


def draw_curve(marks: Sequence[Mark], width: int = 360, height: int = 150) -> str:
    """Every score as a dot, the best so far as a line, the dense model's as a dashed one; scores go upwards."""
    scored = [(mark, mark.score) for mark in marks if mark.score is not None]
    if not scored:
        return ""
    last = max(mark.number for mark in marks)
    low, high = min(score for _, score in scored), max(score for _, score in scored)
    span = (high - low) or 1.0
    left, right, top, bottom = 44, width - 8, 10, height - 22

    def x(number: float) -> float:
        return left + (right - left) * ((number - 1) / (last - 1) if last > 1 else 0.5)

    def y(score: float) -> float:
        return bottom - (bottom - top) * (score - low) / span

    parts = [_line(left, bottom, right, bottom, 0.4), _line(left, top, left, bottom, 0.4)]
    ticks = [high, low] if high > low else [high]
    parts += [_text(left - 4, y(score) + 3, text, "end") for score, text in zip(ticks, _told_apart(ticks))]
    parts += [_text(left, height - 6, "1", "middle"), _text(right, height - 6, str(last), "end")] if last > 1 else []
    parts.append(_text((left + right) / 2, height - 6, "evaluations", "middle"))
    for mark, score in scored:
        if mark.baseline:
            parts.append(
                f'<line class="crdiff-dense" x1="{left}" y1="{y(score):.1f}" x2="{right}" y2="{y(score):.1f}" '
                'stroke="currentColor" stroke-opacity="0.6" stroke-dasharray="4 3"/>'
            )
            parts.append(_text(right, y(score) - 3, "dense", "end"))
    steps, best = "", -float("inf")
    for mark, score in scored:
        if score > best:
            steps += f"{'M' if not steps else f'H{x(mark.number):.1f}V'}"
            steps += f"{x(mark.number):.1f} {y(score):.1f}" if steps == "M" else f"{y(score):.1f}"
            best = score
    parts.append(
        f'<path class="crdiff-best" d="{steps}H{x(last):.1f}" fill="none" stroke="var(--crdiff-accent, #2f81f7)" '
        'stroke-width="2"/>'
    )
    parts += [
        f'<circle cx="{x(mark.number):.1f}" cy="{y(score):.1f}" r="2.2" fill="currentColor" fill-opacity="0.55"/>'
        for mark, score in scored
    ]
    return _svg("crdiff-curve", width, height, f"Scores of {len(scored)} configurations, best {best:.3g}", parts)


def _told_apart(scores: Sequence[float]) -> list[str]:
    """Scores with as few digits as tell them apart."""
    for digits in range(2, 7):
        texts = [f"{score:.{digits}g}" for score in scores]
        if len(set(texts)) == len(texts):
            break
    return texts


def draw_map(marks: Sequence[Mark], side: int = 116) -> str:
    """Three squares, two ratios each: a dot for each configuration, the darker the better; the best has a ring."""
    tried = [mark for mark in marks if not mark.baseline]
    if not tried:
        return ""
    scores = [mark.score for mark in tried if mark.score is not None]
    low, high = (min(scores), max(scores)) if scores else (0.0, 0.0)
    best = max((mark for mark in tried if mark.score is not None), key=lambda mark: mark.score or 0.0, default=None)
    gap, foot = 14, 18
    parts = []
    for place, (across, upward) in enumerate(_PAIRS):
        left = gap + place * (side + 2 * gap)
        parts.append(
            f'<rect x="{left}" y="4" width="{side}" height="{side}" fill="none" stroke="currentColor" '
            'stroke-opacity="0.4"/>'
        )
        parts.append(_text(left + side / 2, side + foot - 2, f"{across} →", "middle"))
        turn = f"rotate(-90 {left - 4} {4 + side / 2:g})"
        parts.append(_text(left - 4, 4 + side / 2, f"{upward} →", "middle", f' transform="{turn}"'))
        for mark in sorted(tried, key=lambda mark: (mark.score is not None, mark.score or 0.0)):
            cx, cy = left + side * mark.point[across], 4 + side * (1.0 - mark.point[upward])
            if mark.score is None:
                shade = 'fill="none" stroke="currentColor" stroke-opacity="0.35"'
            else:
                merit = (mark.score - low) / (high - low) if high > low else 1.0
                shade = f'fill="currentColor" fill-opacity="{0.15 + 0.75 * merit:.2f}"'
            parts.append(f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="3" {shade}/>')
        if best is not None:
            cx, cy = left + side * best.point[across], 4 + side * (1.0 - best.point[upward])
            parts.append(
                f'<circle class="crdiff-best" cx="{cx:.1f}" cy="{cy:.1f}" r="5.5" fill="none" '
                'stroke="var(--crdiff-accent, #2f81f7)" stroke-width="2"/>'
            )
    width = len(_PAIRS) * (side + 2 * gap)
    return _svg("crdiff-map", width, side + foot + 4, f"{len(tried)} configurations tried", parts)


def _svg(name: str, width: int, height: int, label: str, parts: Sequence[str]) -> str:
    return (
        f'<svg class="{name}" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{html.escape(label)}">{"".join(parts)}</svg>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, opacity: float) -> str:
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="currentColor" stroke-opacity="{opacity:g}"/>'


def _text(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="10" fill="currentColor"{more}>'
        f"{html.escape(text)}</text>"
    )
