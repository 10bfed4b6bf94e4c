"""The pruned model alone, where it takes more than k = 1: a preset's stages may have a k of their own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from crdiff.errors import CRDiffError
from crdiff.models.checkpoint import Checkpoint
from crdiff.plan import plan_for
from crdiff.presets.library import PresetLibrary
from crdiff.presets.size import Size
from crdiff.settings import Settings
from crdiff.specs import CUSTOM


def without_own_k(settings: Settings, p: Any, checkpoint: Checkpoint | None, library: PresetLibrary) -> Settings:
    """The settings with the ratios that they find set by hand, if stages among these have a k of their own.

    Args:
        settings: of CR-Diff, with the k that is to be used throughout.
        p: the host's processing object, which tells the size of each pass.
        checkpoint: the selected one; None if nothing is known of it.
        library: where presets are looked up.
    """
    if settings.preset == CUSTOM:
        return settings
    known = Checkpoint("") if checkpoint is None else checkpoint
    sizes = [Size(p.height, p.width)]
    if getattr(p, "enable_hr", False) and settings.acts_in(hires_pass=True):
        sizes.append(_second_pass(p))
    try:
        plans = [plan_for(settings, size, library).make(known) for size in sizes]
    except CRDiffError:
        return settings  # and drawing says why
    if not any(plan.schedule.has_own_k for plan in plans):
        return settings
    first, *second = [replace(plan, schedule=plan.schedule.without_k()) for plan in plans]
    return replace(first.by_hand(settings), hires_ratios="".join(str(plan.schedule) for plan in second))


def _second_pass(p: Any) -> Size:
    """The size of the second pass of Hires. fix: as given, by one side and the aspect, or by the scale."""
    x, y = p.hr_resize_x, p.hr_resize_y
    if x or y:
        return Size(y or x * p.height // p.width, x or y * p.width // p.height)
    return Size(int(p.height * p.hr_scale), int(p.width * p.hr_scale))
