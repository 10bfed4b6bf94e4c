"""The image size that is set in a tab."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from crdiff.presets.size import Size


def read_size(values: Sequence[Any]) -> Size | None:
    """The size of the tab's (width, height), as the host will round it; None if it is not known."""
    if len(values) != 2:
        return None
    try:
        width, height = (int(float(value)) // 8 * 8 for value in values)
    except (TypeError, ValueError, OverflowError):
        return None
    return Size(height, width) if width > 0 and height > 0 else None
