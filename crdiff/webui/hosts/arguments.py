"""A UNet call's arguments: fresh for each pass, with all rows twice for both passes in one, and taken apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch

from crdiff.guidance.graphs import Arguments

_PLAIN = (bool, int, float, str, Enum, torch.dtype, torch.device)


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


@dataclass(frozen=True)
class _Place:
    """Where a tensor belongs, by its index in order."""

    index: int


class _UnfitError(Exception):
    """An argument that is neither a tensor on the device, nor plain, nor made of such."""


def taken_apart(
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    device: torch.device,
    call: Callable[[tuple[Any, ...], dict[str, Any]], torch.Tensor],
) -> Arguments | None:
    """The arguments of a UNet call as tensors and the rest; None where there is more to them, such as a function.

    Args:
        args: of the call.
        kwargs: of the call.
        device: where all tensors have to lie. The value of one that lies elsewhere may decide what is computed.
        call: makes the call with such arguments.
    """
    tensors: list[torch.Tensor] = []

    def apart(value: Any) -> Any:
        if type(value) is torch.Tensor and value.device == device:
            tensors.append(value)
            return _Place(len(tensors) - 1)
        if type(value) in (tuple, list):
            return type(value)(apart(part) for part in value)
        if type(value) is dict:
            return {key: apart(part) for key, part in value.items()}
        if value is None or isinstance(value, _PLAIN):
            return value
        raise _UnfitError

    try:
        rest = apart(args), apart(kwargs)
    except _UnfitError:
        return None

    def run(others: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return call(*together(rest, others))

    return Arguments(tuple(tensors), rest, run)


def together(rest: Any, tensors: tuple[torch.Tensor, ...]) -> Any:
    """What ``taken_apart`` was given, with these tensors in it."""
    if isinstance(rest, _Place):
        return tensors[rest.index]
    if type(rest) in (tuple, list):
        return type(rest)(together(part, tensors) for part in rest)
    if type(rest) is dict:
        return {key: together(part, tensors) for key, part in rest.items()}
    return rest
