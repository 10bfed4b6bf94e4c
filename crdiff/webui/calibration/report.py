"""What users and clients are told of calibrations: which there are, what criteria still lack, what one would take."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from crdiff.calibration.gradients import gathered_bytes, kept_bytes
from crdiff.calibration.hessians import NO_HESSIANS, WHOLE
from crdiff.calibration.memory import Input, column_bytes, hessian_bytes, working_bytes
from crdiff.models.checkpoint import Checkpoint
from crdiff.pruning.calibrations import Stored
from crdiff.pruning.lacking import meets
from crdiff.pruning.registry import CRITERIA
from crdiff.pruning.statistics import Statistics
from crdiff.webui.calibration.context import CalibrationContext
from crdiff.webui.calibration.preparation import size_of
from crdiff.webui.calibration.request import CalibrationRequest
from crdiff.webui.calibration.room import check_disk, inputs_of, shapes_of, size_text


def lacking(statistics: Statistics | None) -> dict[str, str]:
    """The criteria that cannot be used with a calibration, each with what it needs; None stands for none at all."""
    return {name: kind.needs.value for name, kind in CRITERIA.items() if not meets(statistics, kind.needs)}


def describe(checkpoint: Checkpoint | None, found: Sequence[Stored]) -> str:
    """The status line of a checkpoint.

    Args:
        checkpoint: the selected one; None if there is none.
        found: its calibrations, the latest first.
    """
    if checkpoint is None:
        return "There is no checkpoint to calibrate."
    if not found:
        needing = list(lacking(None))
        wanted = f" {_needing(needing)} it." if needing else ""
        return f"{checkpoint.name} is not calibrated.{wanted}"
    states = {one.modifiers: one for one in reversed(found)}
    parts = [f"{checkpoint.name} is calibrated: {'; '.join(_one(one) for one in states.values())}."]
    missing = lacking(found[0].statistics)
    for what in dict.fromkeys(missing.values()):
        parts.append(f"{_needing([name for name, needed in missing.items() if needed == what], 'still ')} {what}.")
    parts.append(f"{size_text(sum(one.bytes for one in found))} on disk.")
    return " ".join(parts)


def _needing(names: Sequence[str], how: str = "") -> str:
    return f"{', '.join(names)} {how}need{'s' if len(names) == 1 else ''}"


def _one(stored: Stored) -> str:
    made, statistics = stored.statistics.made, stored.statistics
    loras = f"with {', '.join(stored.modifiers)}: " if stored.modifiers else ""
    day = time.strftime("%Y-%m-%d %H:%M", time.localtime(stored.time))
    skipped = f", {statistics.skipped} inputs left out" if statistics.skipped else ""
    merged = f", token merging {made['token merging']}" if "token merging" in made else ""
    images = f"{counted(int(made.get('images', 0)), 'image')} at {made.get('size', '?')}"
    return f"{loras}{images}, {statistics.tokens} tokens{skipped}{merged}, {day}"


def estimate(request: CalibrationRequest, context: CalibrationContext) -> str:
    """What the calibration of the selected checkpoint will draw and take, told before it starts.

    Raises:
        SettingsError: it cannot be calibrated.
    """
    checkpoint = context.checkpoints.selected()
    size = size_of(request, checkpoint, context)
    text = f"Drawing {counted(request.images, 'image')} at {size}."
    layers = context.checkpoints.layers()
    if layers is None:
        return text
    check_disk(request, layers, context.calibrations)
    told = [text, _memory(inputs_of(layers), request)]
    if request.gradients:
        shapes = shapes_of(layers)
        told.append(
            f"The gradients take {size_text(gathered_bytes(shapes))} of memory beside what a pass takes, and "
            f"{size_text(kept_bytes(shapes))} on disk."
        )
    return " ".join(told)


def _memory(inputs: Sequence[Input], request: CalibrationRequest) -> str:
    if request.hessians == NO_HESSIANS:
        return f"The sums take {size_text(column_bytes(inputs))} of memory."
    groups, working = hessian_bytes(inputs).values(), working_bytes(inputs)
    together, least = sum(groups) + working, max(groups) + working
    text = (
        f"The Hessians take {size_text(together)} of memory; where that is not free, images are drawn again for each "
        f"part of the UNet, with {size_text(least)}."
    )
    disk = sum(groups) if request.hessians == WHOLE else 0
    return f"{text} They take {size_text(disk)} on disk." if disk else text


def to_dict(stored: Stored) -> dict[str, Any]:
    """A calibration as clients are told of it, as plain JSON."""
    statistics = stored.statistics
    return {
        "name": stored.path.stem,
        "id": statistics.id,
        "checkpoint": stored.checkpoint,
        "modifiers": list(stored.modifiers),
        "made": dict(statistics.made),
        "time": stored.time,
        "tokens": statistics.tokens,
        "skipped": statistics.skipped,
        "bytes": stored.bytes,
        "lacking": lacking(statistics),
    }


def counted(count: int, what: str) -> str:
    """A number of things, such as 1 image or 2 images."""
    return f"{count} {what}{'' if count == 1 else 's'}"
