"""What the drawings of a report have in common: axes, texts and colours, as parts of an SVG."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable
from dataclasses import dataclass

_HUES = 7
_TICKS = 5


@dataclass(frozen=True)
class Axis:
    """A horizontal axis, or a vertical one where ``end`` lies above ``start``.

    Attributes:
        low: value at its start.
        high: value at its end, above ``low``.
        start: in pixels.
        end: in pixels.
    """

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def around(cls, values: Iterable[float], start: float, end: float) -> Axis:
        """With some room beside the values, of which there is at least one."""
        known = [*values]
        low, high = min(known), max(known)
        room = 0.08 * (high - low) or 0.1 * abs(low) or 1.0
        return cls(low - room, high + room, start, end)

    def at(self, value: float) -> float:
        """The pixel of a value."""
        return self.start + (self.end - self.start) * (value - self.low) / (self.high - self.low)

    @property
    def ticks(self) -> list[float]:
        """Two to five round values."""
        width = self.high - self.low
        power = 10.0 ** math.floor(math.log10(width / _TICKS))
        step = next(power * factor for factor in (1, 2, 5, 10) if width / (power * factor) <= _TICKS)
        return [step * number for number in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


def colour(number: int, of: int) -> str:
    """That of a way, told from the others'."""
    return f"hsl({round(360 * number / max(_HUES, of))} 70% 50%)"


def line(x1: float, y1: float, x2: float, y2: float, more: str = 'stroke="currentColor"') -> str:
    """A straight line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {more}/>'


def text(x: float, y: float, content: str, anchor: str = "start", fill: str = "currentColor") -> str:
    """A line of text, which may hold anything; the middle of its letters is about 4 pixels above ``y``."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}">{html.escape(content)}</text>'


def whole(width: float, height: float, label: str, parts: Iterable[str]) -> str:
    """The drawing, as wide as it is unless there is less room."""
    box = f'viewBox="0 0 {width:g} {height:g}" width="{width:g}"'
    return f'<svg {box} role="img" aria-label="{html.escape(label, quote=True)}">{"".join(parts)}</svg>'
