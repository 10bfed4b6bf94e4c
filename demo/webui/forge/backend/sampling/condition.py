"""Conditionings that know whether and how they can share a batch."""

from __future__ import annotations

import math
from typing import Any

import torch


def repeat_to_batch_size(tensor: torch.Tensor, batch_size: int) -> torch.Tensor:
    if tensor.shape[0] < batch_size:
        times = math.ceil(batch_size / tensor.shape[0])
        tensor = tensor.repeat([times] + [1] * (tensor.ndim - 1))
    return tensor[:batch_size]


class Condition:
    def __init__(self, cond: torch.Tensor) -> None:
        self.cond = cond

    def process_cond(self, batch_size: int, device: Any, **kwargs: Any) -> Condition:
        return type(self)(repeat_to_batch_size(self.cond, batch_size).to(device))

    def can_concat(self, other: Condition) -> bool:
        return self.cond.shape == other.cond.shape

    def concat(self, others: list[Condition]) -> torch.Tensor:
        return torch.cat([self.cond, *(x.cond for x in others)])


class ConditionCrossAttn(Condition):
    """Different lengths are brought to a common multiple by repetition, as long as that is not too much."""

    def can_concat(self, other: Condition) -> bool:
        a, b = self.cond.shape, other.cond.shape
        if a == b:
            return True
        if a[0] != b[0] or a[2] != b[2]:
            return False
        return math.lcm(a[1], b[1]) // min(a[1], b[1]) <= 4

    def concat(self, others: list[Condition]) -> torch.Tensor:
        conds = [self.cond, *(x.cond for x in others)]
        length = math.lcm(*(x.shape[1] for x in conds))
        return torch.cat([x.repeat(1, length // x.shape[1], 1) for x in conds])


def compile_conditions(cond: Any) -> list[dict] | None:
    if cond is None:
        return None
    if isinstance(cond, torch.Tensor):
        return [{"cross_attn": cond, "model_conds": {"c_crossattn": ConditionCrossAttn(cond)}}]
    crossattn, vector = cond["crossattn"], cond["vector"]
    model_conds = {"c_crossattn": ConditionCrossAttn(crossattn), "y": Condition(vector)}
    return [{"cross_attn": crossattn, "pooled_output": vector, "model_conds": model_conds}]


def compile_weighted_conditions(cond: Any, weights: list[list[tuple[int, float]]]) -> list[dict]:
    """One entry for each part between the ANDs, over the whole batch."""
    compiled = []
    for parts in zip(*weights):
        rows = [index for index, _ in parts]
        chosen = cond.advanced_indexing(rows) if hasattr(cond, "advanced_indexing") else cond[rows]
        entry = compile_conditions(chosen)[0]
        entry["strength"] = parts[-1][1]
        compiled.append(entry)
    return compiled
