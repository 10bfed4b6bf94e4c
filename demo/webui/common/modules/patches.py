"""Replacing a function of a module or class, and putting it back."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

originals: dict[Any, dict[tuple[Any, str], Any]] = defaultdict(dict)


def patch(key: Any, obj: Any, field: str, replacement: Any) -> Any:
    """Sets ``obj.field`` and returns the original; the same ``key`` cannot patch the same field twice."""
    if (obj, field) in originals[key]:
        raise RuntimeError(f"patch for {field} is already applied")
    original_value = getattr(obj, field)
    originals[key][(obj, field)] = original_value
    setattr(obj, field, replacement)
    return original_value


def undo(key: Any, obj: Any, field: str) -> None:
    """Writes back what ``patch`` had found, whatever stands there now."""
    if (obj, field) not in originals[key]:
        raise RuntimeError(f"there is no patch for {field} to undo")
    setattr(obj, field, originals[key].pop((obj, field)))


def original(key: Any, obj: Any, field: str) -> Any:
    return originals[key].get((obj, field))
