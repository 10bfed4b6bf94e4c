"""Reading what a WebUI writes about a picture."""

from __future__ import annotations

import json
import re

_ENTRY = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')


def parse(infotext: str) -> dict[str, str]:
    """The keys of the last line, with their values unquoted."""
    entries = _ENTRY.findall(infotext.strip().splitlines()[-1])
    return {key: json.loads(value) if value.startswith('"') else value.strip() for key, value in entries}


def group_ratios(found: dict[str, str]) -> dict[str, float]:
    """The three ratios of the first pass."""
    return {group: float(found[f"CR-Diff {group}"]) for group in ("down", "mid", "up")}
