"""What a plan costs, in UNet passes for each of the host's own."""

from __future__ import annotations

from crdiff.method.schedule import StepWindow
from crdiff.modes.mode import Mode
from crdiff.plan import Plan

_SHARED = 0.33, 0.4
"""Part of the second pass that the first has computed, by FLOPs: with the down ratio 0, and with the mid ratio too."""


def unet_passes(plan: Plan, mode: type[Mode], window: StepWindow) -> float:
    """The mean over the steps; what both passes of a step share counts once.

    Args:
        plan: ratios and k; of a schedule of several stages the first is taken.
        mode: how a step is computed.
        window: the part of the steps to act in.
    """
    ratios = plan.schedule.first
    if not any(ratios) or plan.k in (0.0, 1.0):
        return 1.0
    more = mode.passes - 1.0
    if mode.shares and ratios.down == 0.0:
        more -= _SHARED[ratios.mid == 0.0]
    return 1.0 + more * window.length
