"""Kept for extensions that import it; memory is the backend's business."""

from __future__ import annotations

from typing import Any


def send_everything_to_cpu() -> None:
    pass


def is_needed(sd_model: Any) -> bool:
    return False


def is_enabled(sd_model: Any) -> bool:
    return False


def apply(sd_model: Any) -> None:
    pass
