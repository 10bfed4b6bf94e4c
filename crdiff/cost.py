"""What a plan costs, in UNet passes for each of the host's own."""

from __future__ import annotations

from itertools import pairwise

from crdiff.method.groups import Ratios
from crdiff.method.schedule import StepWindow
from crdiff.modes.mode import Mode
from crdiff.plan import Plan

_SHARED = 0.33, 0.4
"""Part of a further pass that the first has computed, by FLOPs: with the down ratio 0, and with the mid ratio 0 too. Of
the published families and sizes it is 0.32 to 0.36 and 0.39 to 0.48."""


def unet_passes(plan: Plan, mode: type[Mode], window: StepWindow) -> float:
    """The mean over the steps; what the passes of a step share counts once.

    Args:
        plan: ratios and k.
        mode: how a step is computed.
        window: the part of the steps to act in.
    """
    if plan.k in (0.0, 1.0):
        return 1.0
    stages = plan.schedule.stages
    starts = [*(stage.start for stage in stages), 1.0]
    inside = [max(0.0, min(end, window.end) - max(start, window.start)) for start, end in pairwise(starts)]
    return 1.0 + sum(length * _beyond_one(stage.ratios, mode) for length, stage in zip(inside, stages))


def _beyond_one(ratios: Ratios, mode: type[Mode]) -> float:
    if not any(ratios):
        return 0.0
    further = mode.passes - 1.0
    if mode.shares and ratios.down == 0.0:
        further *= 1.0 - _SHARED[ratios.mid == 0.0]
    return further
