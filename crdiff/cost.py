"""What a plan costs, in UNet passes for each of the host's own."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from crdiff.method.groups import Ratios
from crdiff.method.schedule import StepWindow
from crdiff.modes.mode import Mode
from crdiff.plan import Plan

_SHARED = 0.33, 0.4
"""Part of a further pass that the first has computed, by FLOPs: with the down ratio 0, and with the mid ratio 0 too. Of
the published families and sizes it is 0.32 to 0.36 and 0.39 to 0.48."""


def _nothing(ratios: Ratios) -> float:
    return 0.0


def unet_passes(plan: Plan, mode: type[Mode], window: StepWindow, saves: Callable[[Ratios], float] = _nothing) -> float:
    """The mean over the steps; what the passes of a step share counts once.

    Args:
        plan: ratios and k.
        mode: how a step is computed.
        window: the part of the steps to act in.
        saves: the part of a pruned pass that the criterion saves at given ratios.
    """
    if plan.k == 0.0:
        return 1.0
    stages = plan.schedule.stages
    starts = [*(stage.start for stage in stages), 1.0]
    inside = [max(0.0, min(end, window.end) - max(start, window.start)) for start, end in pairwise(starts)]
    pruned = 1.0 if plan.k == 1.0 else mode.pruned_passes

    def beyond_one(ratios: Ratios) -> float:
        return (0.0 if plan.k == 1.0 else _further(ratios, mode)) - pruned * saves(ratios)

    return 1.0 + sum(length * beyond_one(stage.ratios) for length, stage in zip(inside, stages))


def _further(ratios: Ratios, mode: type[Mode]) -> float:
    if not any(ratios):
        return 0.0
    further = mode.passes - 1.0
    if mode.shares and ratios.down == 0.0:
        further *= 1.0 - _SHARED[ratios.mid == 0.0]
    return further
