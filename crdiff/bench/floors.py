"""The least that two passes can cost, by arithmetic: what does not depend on a pruned layer is computed once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from crdiff.bench.shape import UNetShape, make_steps
from crdiff.bench.unet import ResBlock, UNetModel, build_unet
from crdiff.model.layers import find_layers
from crdiff.presets.size import Size
from crdiff.pruning.ratios import GROUPS


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


def operation_counter() -> Any:
    """A context whose ``get_total_flops()`` is the number of operations computed inside it, on any device."""
    # What torch computes attention with on a CPU is missing from its own table.
    on_cpu = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)
    return FlopCounterMode(display=False, custom_mapping={} if on_cpu is None else {on_cpu: _attention})


def _attention(query: Any, key: Any, *_: Any, **__: Any) -> int:
    """Two matmuls; the arguments are tensors or, in newer releases, their shapes."""
    batch, heads, tokens, width = getattr(query, "shape", query)
    return int(4 * batch * heads * tokens * getattr(key, "shape", key)[2] * width)


def count_operations(shape: UNetShape, size: Size) -> Arithmetic:
    """Count a pass without computing it."""
    meta = torch.device("meta")
    unet = build_unet(shape, meta, torch.float32)
    (inputs,) = make_steps(shape, size, 1, meta, torch.float32)
    counter = operation_counter()
    before: dict[str, int] = {}
    started: dict[nn.Module, int] = {}
    shareable: list[tuple[int, int]] = []

    def meet(group: str, *_: Any) -> None:
        before.setdefault(group, counter.get_total_flops())

    def start(module: nn.Module, *_: Any) -> None:
        started[module] = counter.get_total_flops()

    def end(module: nn.Module, *_: Any) -> None:
        shareable.append((started[module], counter.get_total_flops() - started[module]))

    for layer in find_layers(unet).layers:
        layer.module.register_forward_pre_hook(partial(meet, layer.group))
    for module in _shareable_modules(unet):
        module.register_forward_pre_hook(start)
        module.register_forward_hook(end)
    with torch.no_grad(), counter:
        unet.predict(inputs)
    assert set(before) == set(GROUPS)
    return Arithmetic(counter.get_total_flops(), before, tuple(shareable))


def _shareable_modules(unet: UNetModel) -> list[nn.Module]:
    keys_and_values = [m for name, m in unet.named_modules() if name.endswith((".attn2.to_k", ".attn2.to_v"))]
    return keys_and_values + [module.emb_layers for module in unet.modules() if isinstance(module, ResBlock)]
