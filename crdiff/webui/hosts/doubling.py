"""A UNet call's arguments with all rows twice, for the pruned and the dense pass in one."""

from __future__ import annotations

from typing import Any

import torch


def repeated(value: Any, rows: int) -> Any:
    """``value`` with every tensor of ``rows`` rows repeated after itself, in tuples, lists and dicts too."""
    if isinstance(value, torch.Tensor):
        return torch.cat([value, value]) if value.ndim > 0 and len(value) == rows else value
    if isinstance(value, dict):
        return {key: repeated(part, rows) for key, part in value.items()}
    if type(value) in (tuple, list):
        return type(value)(repeated(part, rows) for part in value)
    return value
