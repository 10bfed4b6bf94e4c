"""What a plan costs, in UNet passes for each of the host's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

from crdiff.method.groups import Ratios
from crdiff.method.schedule import Stage, StepWindow
from crdiff.models.family import OTHER, Family
from crdiff.modes.mode import Mode
from crdiff.modes.registry import MODES
from crdiff.plan import Plan
from crdiff.pruning.registry import CRITERIA
from crdiff.settings import Settings


def _nothing(ratios: Ratios) -> float:
    return 0.0


def passes_of(settings: Settings, plan: Plan, family: Family) -> float:
    """What the plan of these settings costs with a model of this family."""
    saves = partial(CRITERIA[settings.criterion].saves, family)
    return unet_passes(plan, MODES[settings.mode], settings.window, saves, family.shared)


def unet_passes(
    plan: Plan,
    mode: type[Mode],
    window: StepWindow,
    saves: Callable[[Ratios], float] = _nothing,
    shared: tuple[float, float] = OTHER.shared,
) -> float:
    """The mean over the steps; what the passes of a step share counts once.

    Args:
        plan: ratios and k.
        mode: how a step is computed.
        window: the part of the steps to act in.
        saves: the part of a pruned pass that the criterion saves at given ratios.
        shared: of the model's family.
    """
    stages = plan.schedule.with_k(plan.k).stages
    starts = [*(stage.start for stage in stages), 1.0]
    inside = [max(0.0, min(end, window.end) - max(start, window.start)) for start, end in pairwise(starts)]

    def beyond_one(stage: Stage) -> float:
        if stage.k == 0.0:
            return 0.0
        if stage.k == 1.0:
            return -saves(stage.ratios)
        return _further(stage.ratios, mode, shared) - mode.pruned_passes * saves(stage.ratios)

    return 1.0 + sum(length * beyond_one(stage) for length, stage in zip(inside, stages))


def _further(ratios: Ratios, mode: type[Mode], shared: tuple[float, float]) -> float:
    if not any(ratios):
        return 0.0
    further = mode.passes - 1.0
    if mode.shares and ratios.down == 0.0:
        further *= 1.0 - shared[ratios.mid == 0.0]
    return further
