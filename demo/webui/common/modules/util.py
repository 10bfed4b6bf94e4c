"""Small helpers the host shares with extensions."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator


def natural_sort_key(s: str, regex: re.Pattern[str] = re.compile("([0-9]+)")) -> list:
    return [int(part) if part.isdigit() else part.lower() for part in regex.split(s)]


def walk_files(path: str, allowed_extensions: list[str] | None = None) -> Iterator[str]:
    if not os.path.exists(path):
        return
    for root, _dirs, files in os.walk(path, followlinks=True):
        for name in sorted(files, key=natural_sort_key):
            if allowed_extensions is None or os.path.splitext(name)[1].lower() in allowed_extensions:
                yield os.path.join(root, name)
