"""HTML that several parts of the page share."""

from __future__ import annotations

import html
from collections.abc import Sequence

_FEW = 3


def status_html(text: str, level: str = "ok") -> str:
    """A sentence in a box of its own; nothing for an empty one.

    Args:
        text: plain text.
        level: ``ok``, ``estimated`` or ``problem``, by which the box is coloured.
    """
    if not text:
        return ""
    return f'<p class="crdiff-status crdiff-{level}">{html.escape(text)}</p>'


def few(sentences: Sequence[str]) -> str:
    """The first three of some sentences, and how many more there are."""
    more = len(sentences) - _FEW
    return " ".join([*sentences[:_FEW], *([f"And {more} more."] if more > 0 else [])])
