"""A small diagram of the UNet's three groups, shaded by how much of each is pruned."""

from __future__ import annotations

from crdiff.method.groups import GROUPS, Ratios

_BARS = {
    "down": ((4, 8, 14, 56), (22, 16, 14, 48), (40, 24, 14, 40)),
    "mid": ((62, 44, 36, 20),),
    "up": ((106, 24, 14, 40), (124, 16, 14, 48), (142, 8, 14, 56)),
}
_LABEL_X = {"down": 29, "mid": 80, "up": 131}


def draw_unet(ratios: Ratios | None) -> str:
    """An inline SVG in the page's text colour, so that it follows the light and the dark theme.

    Args:
        ratios: the ratios in force; None draws the groups empty.
    """
    shapes = []
    for group in GROUPS:
        ratio = 0.0 if ratios is None else ratios[group]
        shown = "" if ratios is None else f" {ratio:.3g}"
        for x, y, width, height in _BARS[group]:
            shapes.append(
                f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="2" fill="currentColor" '
                f'fill-opacity="{0.05 + 0.85 * ratio:.3f}" stroke="currentColor" stroke-opacity="0.6"/>'
            )
        shapes.append(
            f'<text x="{_LABEL_X[group]}" y="78" text-anchor="middle" font-size="10" fill="currentColor">'
            f"{group}{shown}</text>"
        )
    label = "UNet groups" if ratios is None else f"UNet groups, pruned down {ratios.down:.3g}, mid {ratios.mid:.3g}, "
    label += "" if ratios is None else f"up {ratios.up:.3g}"
    return (
        f'<svg class="crdiff-unet" viewBox="0 0 160 84" width="160" height="84" role="img" aria-label="{label}">'
        f"{''.join(shapes)}</svg>"
    )
