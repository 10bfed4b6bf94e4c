"""The least that two passes can cost, by arithmetic: what does not depend on a pruned layer is computed once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from crdiff.bench.operations import OperationCounter
from crdiff.bench.random_unet import build_unet, make_steps
from crdiff.bench.unet import ResBlock, UNetModel, UNetShape
from crdiff.method.groups import GROUPS
from crdiff.models.architecture import find_layers
from crdiff.presets.size import Size


@dataclass(frozen=True)
class Arithmetic:
    """The operations of one UNet pass (2 for a multiplication and addition), classifier-free guidance included.

    Attributes:
        total: of the pass.
        before: up to the first pruned layer of each group.
        shareable: later operations on the context or the time embedding alone: (position, number) of each.
    """

    total: int
    before: Mapping[str, int]
    shareable: tuple[tuple[int, int], ...]

    def floor(self, pruned: tuple[str, ...]) -> float:
        """The cost of both passes in dense passes when only these groups are pruned; at least one."""
        prefix = min(self.before[group] for group in pruned)
        later = sum(operations for position, operations in self.shareable if position >= prefix)
        return 2.0 - (prefix + later) / self.total


def count_operations(shape: UNetShape, size: Size) -> Arithmetic:
    """Count a pass without computing it."""
    meta = torch.device("meta")
    unet = build_unet(shape, meta, torch.float32)
    (inputs,) = make_steps(shape, size, 1, meta, torch.float32)
    counter = OperationCounter()
    before: dict[str, int] = {}
    started: dict[nn.Module, int] = {}
    shareable: list[tuple[int, int]] = []

    def meet(group: str, *_: Any) -> None:
        before.setdefault(group, counter.total)

    def start(module: nn.Module, *_: Any) -> None:
        started[module] = counter.total

    def end(module: nn.Module, *_: Any) -> None:
        shareable.append((started[module], counter.total - started[module]))

    for layer in find_layers(unet).layers:
        layer.module.register_forward_pre_hook(partial(meet, layer.group))
    for module in _shareable_modules(unet):
        module.register_forward_pre_hook(start)
        module.register_forward_hook(end)
    with torch.no_grad(), counter:
        unet(*inputs)
    assert set(before) == set(GROUPS)
    return Arithmetic(counter.total, before, tuple(shareable))


def _shareable_modules(unet: UNetModel) -> list[nn.Module]:
    keys_and_values = [m for name, m in unet.named_modules() if name.endswith((".attn2.to_k", ".attn2.to_v"))]
    return keys_and_values + [module.emb_layers for module in unet.modules() if isinstance(module, ResBlock)]
