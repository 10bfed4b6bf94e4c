"""Prompts to conditionings: ``AND`` with weights, one schedule entry per prompt."""

from __future__ import annotations

import re
from collections import namedtuple
from typing import Any

import torch

ScheduledPromptConditioning = namedtuple("ScheduledPromptConditioning", ["end_at_step", "cond"])
re_AND = re.compile(r"\bAND\b")
re_weight = re.compile(r"^((?:\s|.)*?)(?:\s*:\s*([-+]?(?:\d+\.?|\d*\.\d+)))?\s*$")


class SdConditioning(list):
    """Prompts that know the size of the image and on which side of the guidance they stand."""

    def __init__(self, prompts: list[str], is_negative_prompt: bool = False, width: int | None = None,
                 height: int | None = None, copy_from: Any = None, distilled_cfg_scale: float | None = None) -> None:
        super().__init__(prompts)
        source = prompts if copy_from is None else copy_from
        self.is_negative_prompt = is_negative_prompt or getattr(source, "is_negative_prompt", False)
        self.width = width or getattr(source, "width", None)
        self.height = height or getattr(source, "height", None)
        self.distilled_cfg_scale = distilled_cfg_scale or getattr(source, "distilled_cfg_scale", None)


class ComposableScheduledPromptConditioning:
    def __init__(self, schedules: list[ScheduledPromptConditioning], weight: float = 1.0) -> None:
        self.schedules = schedules
        self.weight = weight


class MulticondLearnedConditioning:
    def __init__(self, shape: tuple, batch: list[list[ComposableScheduledPromptConditioning]]) -> None:
        self.shape = shape
        self.batch = batch


class DictWithShape(dict):
    def __init__(self, x: dict, shape: tuple | None = None) -> None:
        super().__init__(x)

    @property
    def shape(self) -> torch.Size:
        return self["crossattn"].shape

    def to(self, *args: Any, **kwargs: Any) -> DictWithShape:
        return DictWithShape({k: v.to(*args, **kwargs) if isinstance(v, torch.Tensor) else v for k, v in self.items()})

    def advanced_indexing(self, item: Any) -> DictWithShape:
        return DictWithShape({k: v[item] for k, v in self.items()})


def get_learned_conditioning(model: Any, prompts: Any, steps: int,
                             hires_steps: int | None = None) -> list[list[ScheduledPromptConditioning]]:
    result, known = [], {}
    for prompt in prompts:
        if prompt not in known:
            conds = model.get_learned_conditioning(SdConditioning([prompt], copy_from=prompts))
            cond = {k: v[0] for k, v in conds.items()} if isinstance(conds, dict) else conds[0]
            known[prompt] = [ScheduledPromptConditioning(hires_steps or steps, cond)]
        result.append(known[prompt])
    return result


def get_multicond_prompt_list(prompts: Any) -> tuple[list[list[tuple[int, float]]], SdConditioning, dict[str, int]]:
    """Splits at AND: for each prompt its (index, weight) pairs, and the flat list the indexes point into."""
    flat = SdConditioning(prompts)
    flat.clear()
    known: dict[str, int] = {}
    indexes = []
    for prompt in prompts:
        row = []
        for part in re_AND.split(prompt):
            match = re_weight.search(part)
            text, weight = match.groups() if match is not None else (part, None)
            if text not in known:
                known[text] = len(flat)
                flat.append(text)
            row.append((known[text], 1.0 if weight is None else float(weight)))
        indexes.append(row)
    return indexes, flat, known


def get_multicond_learned_conditioning(model: Any, prompts: Any, steps: int,
                                       hires_steps: int | None = None) -> MulticondLearnedConditioning:
    indexes, flat, _known = get_multicond_prompt_list(prompts)
    learned = get_learned_conditioning(model, flat, steps, hires_steps)
    batch = [[ComposableScheduledPromptConditioning(learned[i], weight) for i, weight in row] for row in indexes]
    return MulticondLearnedConditioning(shape=(len(prompts),), batch=batch)


def _at_step(schedules: list[ScheduledPromptConditioning], step: int) -> Any:
    return next((x.cond for x in schedules if step <= x.end_at_step), schedules[0].cond)


def _stack(conds: list[torch.Tensor]) -> torch.Tensor:
    """Conditionings of different lengths are filled up with their last vector."""
    longest = max(x.shape[0] for x in conds)
    return torch.stack([torch.cat([x, x[-1:].repeat(longest - x.shape[0], 1)]) if x.ndim > 1 else x for x in conds])


def _collect(conds: list[Any]) -> Any:
    if isinstance(conds[0], dict):
        return DictWithShape({k: _stack([x[k] for x in conds]) for k in conds[0]})
    return _stack(conds)


def reconstruct_cond_batch(c: list[list[ScheduledPromptConditioning]], current_step: int) -> Any:
    return _collect([_at_step(schedules, current_step) for schedules in c])


def reconstruct_multicond_batch(c: MulticondLearnedConditioning, current_step: int) -> tuple[list, Any]:
    conds, conds_list = [], []
    for row in c.batch:
        entries = []
        for part in row:
            entries.append((len(conds), part.weight))
            conds.append(_at_step(part.schedules, current_step))
        conds_list.append(entries)
    return conds_list, _collect(conds)
