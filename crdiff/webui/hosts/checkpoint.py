"""The checkpoint behind the host's live weights."""

from __future__ import annotations

import os
from typing import Any

from crdiff.models.checkpoint import Checkpoint


def live_checkpoint(info: Any) -> Checkpoint:
    """The checkpoint of a host's CheckpointInfo; without a hash it is named by path, size and time of change."""
    sha256 = getattr(info, "sha256", None) or None
    filename = str(getattr(info, "filename", ""))
    if sha256 is not None:
        return Checkpoint(filename, sha256=sha256)
    try:
        stat = os.stat(filename)
    except OSError:
        return Checkpoint(filename)
    return Checkpoint(f"{filename}|{stat.st_size}|{stat.st_mtime_ns}")
