"""Whether the WebUI's transformers package can be used, without importing it."""

from __future__ import annotations

from importlib import metadata

OLDEST = (4, 30)


def transformers_problem() -> str | None:
    """One sentence why the transformers package cannot be used; None if it can."""
    try:
        version = metadata.version("transformers")
    except metadata.PackageNotFoundError:
        return "The transformers package, which WebUIs bring along, is not installed."
    parts = version.split(".")
    found = tuple(int(part) for part in parts[:2] if part.isdigit())
    if found < OLDEST:
        return f"The transformers package is too old: {version}, where 4.30 is needed."
    return None
