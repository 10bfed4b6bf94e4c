"""A UNet call's arguments: fresh for each pass, and with all rows twice for the pruned and the dense pass in one."""

from __future__ import annotations

from typing import Any

import torch


def fresh(values: dict[str, Any]) -> dict[str, Any]:
    """The keyword arguments of one pass: Forge's UNet empties ``control``'s lists and writes into
    ``transformer_options``.
    """
    values = dict(values)
    control = values.get("control")
    if isinstance(control, dict):
        values["control"] = {name: list(parts) if isinstance(parts, list) else parts for name, parts in control.items()}
    options = values.get("transformer_options")
    if isinstance(options, dict):
        values["transformer_options"] = dict(options)
    return values


def repeated(value: Any, rows: int) -> Any:
    """``value`` with every tensor of ``rows`` rows repeated after itself, in tuples, lists and dicts too."""
    if isinstance(value, torch.Tensor):
        return torch.cat([value, value]) if value.ndim > 0 and len(value) == rows else value
    if isinstance(value, dict):
        return {key: repeated(part, rows) for key, part in value.items()}
    if type(value) in (tuple, list):
        return type(value)(repeated(part, rows) for part in value)
    return value


def doubled(values: dict[str, Any], rows: int) -> dict[str, Any]:
    """The keyword arguments of one pass of all rows twice. Forge's options name the conditions and rows in lists."""
    twice: dict[str, Any] = repeated(fresh(values), rows)
    options = twice.get("transformer_options")
    if isinstance(options, dict):
        if isinstance(options.get("cond_or_uncond"), list):
            options["cond_or_uncond"] = options["cond_or_uncond"] * 2
        for name in ("cond_indices", "uncond_indices"):
            if isinstance(options.get(name), list):
                options[name] = options[name] + [row + rows for row in options[name]]
    return twice
