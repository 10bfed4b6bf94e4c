"""What the page shows of a comparison: the pair of the moment under a slider, and the images of each way.

The page's script moves the slider, steps through the seeds and shows differences; the images are the host's to serve.
"""

from __future__ import annotations

import html
import json

from crdiff.webui.compare.comparison import Column, Comparison
from crdiff.webui.compare.grid import caption
from crdiff.webui.compare.ways import CRDIFF, DENSE
from crdiff.webui.status import times_text


def panel_html(comparison: Comparison, path: str, key: str) -> str:
    """The panel of a comparison that is kept.

    Args:
        comparison: what to show.
        path: where images are served, below the page's own address.
        key: of the comparison.
    """
    places = {(column.way, row): place for place, (column, row) in enumerate(comparison.cells())}
    sources = {
        column.way: [f"{path}/{key}/{places[column.way, row]}.png" for row in range(len(column.images))]
        for column in comparison.columns
    }
    data = html.escape(json.dumps({"sources": sources, "seeds": comparison.seeds}))
    sections = "".join(_section(comparison, column, sources[column.way]) for column in comparison.columns)
    sentences = "".join(f"<p>{html.escape(text)}</p>" for text in comparison.sentences)
    return (
        f'<div class="crdiff-compare" tabindex="0" data-crdiff-compare="{data}">{_viewer(comparison)}'
        f'<div class="crdiff-compare-ways">{sections}</div>'
        f'<div class="crdiff-compare-sentences">{sentences}</div></div>'
    )


def _viewer(comparison: Comparison) -> str:
    ways = [column.way for column in comparison.columns]
    if len(ways) < 2:
        return ""
    left = DENSE if DENSE in ways else ways[0]
    right = CRDIFF if CRDIFF in ways and left != CRDIFF else next(way for way in ways[::-1] if way != left)
    return (
        '<div class="crdiff-compare-viewer"><div class="crdiff-compare-bar">'
        f"{_choice(comparison, 'left', left)}{_choice(comparison, 'right', right)}"
        '<span class="crdiff-compare-steps">'
        '<button type="button" data-crdiff-step="-1" title="Previous seed (left key)" aria-label="Previous seed">'
        '&#9664;</button><span class="crdiff-compare-seed"></span>'
        '<button type="button" data-crdiff-step="1" title="Next seed (right key)" aria-label="Next seed">&#9654;'
        '</button></span><label><input type="checkbox" class="crdiff-compare-difference"> Difference</label></div>'
        '<div class="crdiff-compare-pair"><img class="crdiff-compare-left" alt="" draggable="false">'
        '<img class="crdiff-compare-right" alt="" draggable="false"><i></i>'
        '<input type="range" min="0" max="100" value="50" step="0.5" aria-label="Left image up to here"></div></div>'
    )


def _choice(comparison: Comparison, side: str, chosen: str) -> str:
    options = "".join(
        f'<option value="{one.way}"{" selected" if one.way == chosen else ""}>{html.escape(one.label)}</option>'
        for one in comparison.columns
    )
    return f'<select data-crdiff-side="{side}" aria-label="Image on the {side}">{options}</select>'


def _section(comparison: Comparison, column: Column, sources: list[str]) -> str:
    many = len(comparison.columns) > 1 and column.scores is not None
    parts = [
        column.verdict,
        "" if column.mean is None else f"mean {column.mean:.2f}",
        f"best at {comparison.wins(column)} of {len(column.images)}" if many else "",
        "" if column.passes is None else f"{times_text(column.passes)} UNet time",
        f"{column.seconds:.1f} s",
    ]
    origin = f"<small>{html.escape(column.origin)}</small>" if column.origin else ""
    told = ", ".join(part for part in parts if part)
    header = f"<header><b>{html.escape(column.label)}</b><span>{told}</span>{origin}</header>"
    figures = "".join(_figure(column, row, *one) for row, one in enumerate(zip(comparison.seeds, sources)))
    return f'<section>{header}<div class="crdiff-compare-images">{figures}</div></section>'


def _figure(column: Column, row: int, seed: str, source: str) -> str:
    text = caption(column, row)
    kind = ""
    if column.right is not None:
        kind = ' class="crdiff-right"' if column.right[row] else ' class="crdiff-wrong"'
    below = f"<figcaption>{html.escape(text)}</figcaption>" if text else ""
    name = html.escape(f"{column.label}, seed {seed}")
    return f'<figure{kind} data-crdiff-row="{row}"><img src="{source}" alt="{name}">{below}</figure>'
