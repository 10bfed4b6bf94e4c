"""Streams for moving weights beside the computation; there are none on a CPU."""

from __future__ import annotations

from typing import Any

stream_activated = False
current_stream: Any = None
mover_stream: Any = None


def stream_context() -> Any:
    return None


def should_use_stream() -> bool:
    return stream_activated and current_stream is not None and mover_stream is not None
