"""What Forge's family merges into a layer's weight each time the layer runs, taken apart to be fingerprinted."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import torch


def merged_on_use(module: torch.nn.Module) -> Iterator[torch.Tensor | str]:
    """The factors and strengths of the LoRAs that a layer merges on each use; nothing where it merges none.

    Args:
        module: a layer, on which Forge keeps ``forge_online_loras``, and the others the functions of its weight.
    """
    online = getattr(module, "forge_online_loras", {}).get("weight")
    functions = getattr(module, "weight_function", ())
    if online:
        yield from _parts(online)
    for function in functions:
        yield from _parts(function)


def _parts(value: Any) -> Iterator[torch.Tensor | str]:
    if isinstance(value, torch.Tensor):
        yield value
    elif value is None or isinstance(value, (str, int, float)):
        yield repr(value)
    elif isinstance(value, Mapping):
        yield from _parts(list(value.items()))
    elif isinstance(value, (list, tuple)):
        yield str(len(value))
        for one in value:
            yield from _parts(one)
    elif hasattr(value, "patches") and hasattr(value, "key"):  # all patches of the model, and which of them is meant
        yield from _parts(value.patches[value.key])
    elif hasattr(value, "weights"):  # an adapter of one kind: LoRA, LoHa, LoKr and the like
        yield type(value).__name__
        yield from _parts(value.weights)
    else:
        # Nobody can say what it does, so it is like nothing that was seen before.
        yield uuid.uuid4().hex
