"""Scores as people read them."""

from __future__ import annotations

_TINY = 0.01


def score_text(score: float, digits: int = 3) -> str:
    """A score with ``digits`` decimals; a tiny one with two significant digits, for 0.000 says nothing."""
    if score != 0.0 and abs(score) < _TINY:
        return f"{score:.2g}"
    return f"{score:.{digits}f}"
