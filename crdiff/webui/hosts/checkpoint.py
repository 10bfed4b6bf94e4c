"""The identity of the checkpoint behind the host's live weights."""

from __future__ import annotations

import os
from typing import Any


def checkpoint_identity(info: Any) -> tuple[str, str | None]:
    """(identity, sha256 or None) of a host's CheckpointInfo; the identity falls back to path, size and time."""
    sha256 = getattr(info, "sha256", None) or None
    if sha256 is not None:
        return sha256, sha256
    filename = str(getattr(info, "filename", ""))
    try:
        stat = os.stat(filename)
    except OSError:
        return filename, None
    return f"{filename}|{stat.st_size}|{stat.st_mtime_ns}", None
