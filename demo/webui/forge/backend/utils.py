"""Attribute paths, parameters, and files."""

from __future__ import annotations

from typing import Any

import safetensors.torch
import torch


def load_torch_file(ckpt: str, safe_load: bool = False, device: torch.device | None = None) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(ckpt, device=device.type if device is not None else "cpu")


def get_attr_with_parent(obj: Any, attr: str) -> tuple[Any, str, Any]:
    parent, *names = obj, *attr.split(".")
    for name in names[:-1]:
        parent = getattr(parent, name)
    return parent, names[-1], getattr(parent, names[-1])


def get_attr(obj: Any, attr: str) -> Any:
    return get_attr_with_parent(obj, attr)[2]


def set_attr_raw(obj: Any, attr: str, value: Any) -> None:
    *path, last = attr.split(".")
    for name in path:
        obj = getattr(obj, name)
    setattr(obj, last, value)
