"""A small diagram of the denoiser's three groups, shaded by how much of each is pruned."""

from __future__ import annotations

from crdiff.method.groups import GROUPS, Ratios
from crdiff.specs import MAX_RATIO

_BARS = {
    "down": ((4, 6, 14, 48), (22, 13, 14, 41), (40, 20, 14, 34)),
    "mid": ((64, 37, 32, 17),),
    "up": ((106, 20, 14, 34), (124, 13, 14, 41), (142, 6, 14, 48)),
}
_EQUAL_BARS = {
    group: tuple((first + 16 * place, 13, 12, 41) for place in range(3))
    for group, first in (("down", 7), ("mid", 58), ("up", 109))
}
"""Of a transformer, whose blocks are all of one size."""
_LABEL_X = {"down": 29, "mid": 80, "up": 131}
_NAMES_Y, _RATIOS_Y = 66, 79


def draw_unet(ratios: Ratios | None, *, transformer: bool = False) -> str:
    """An inline SVG in the page's text colour, so that it follows the light and the dark theme.

    Args:
        ratios: the ratios in force; None draws the groups empty.
        transformer: whether the denoiser is one, not a UNet.
    """
    bars = _EQUAL_BARS if transformer else _BARS
    # The nearest ratio to 1 that three digits tell from it.
    told = {} if ratios is None else {group: f"{min(ratios[group], MAX_RATIO):.3g}" for group in GROUPS}
    shapes = []
    for group in GROUPS:
        ratio = 0.0 if ratios is None else ratios[group]
        for x, y, width, height in bars[group]:
            shapes.append(
                f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="2" fill="currentColor" '
                f'fill-opacity="{0.05 + 0.85 * ratio:.3f}" stroke="currentColor" stroke-opacity="0.6"/>'
            )
        # One below the other: side by side, three digits of neighbours would touch.
        shapes.append(_label(_LABEL_X[group], _NAMES_Y, group))
        if told:
            shapes.append(_label(_LABEL_X[group], _RATIOS_Y, told[group]))
    label = f"{'Transformer' if transformer else 'UNet'} groups"
    if told:
        label += ", pruned " + ", ".join(f"{group} {ratio}" for group, ratio in told.items())
    return (
        f'<svg class="crdiff-unet" viewBox="0 0 160 84" width="160" height="84" role="img" aria-label="{label}">'
        f"{''.join(shapes)}</svg>"
    )


def _label(x: int, y: int, text: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="middle" font-size="10" fill="currentColor">{text}</text>'
