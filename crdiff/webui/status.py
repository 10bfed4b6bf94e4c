"""The status line: what CR-Diff will do with the selected checkpoint and size, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass

from crdiff.errors import CRDiffError
from crdiff.method.groups import Ratios
from crdiff.modes.mode import Execution, Mode
from crdiff.presets.library import PresetLibrary
from crdiff.presets.size import Size
from crdiff.settings import AUTO, Settings
from crdiff.webui.checkpoints import SelectedCheckpoint


@dataclass(frozen=True)
class Status:
    """What the user is told.

    Attributes:
        text: one line.
        ratios: the ratios in force; None if there are none.
        k: the amplification in force; None if there is no plan.
        level: ``ok``, ``estimated`` (interpolated ratios) or ``problem`` (drawn without CR-Diff).
    """

    text: str
    ratios: Ratios | None
    k: float | None
    level: str


_SECOND_PASS = {Mode.EXACT: 1.0, Mode.BATCHED: 1.0, Mode.BALANCED: 2 / Execution.refresh, Mode.FAST: 0.0}
_SHARED = 0.33, 0.4
"""Part of the second pass that the first has computed, by FLOPs: with the down ratio 0, and with the mid ratio too."""


def cost(settings: Settings, ratios: Ratios, k: float) -> float:
    """UNet passes for each of the host's own; what both passes share counts once."""
    if not any(ratios) or k in (0.0, 1.0):
        return 1.0
    more = _SECOND_PASS[Mode(settings.mode)]
    if ratios.down == 0.0 and settings.mode == Mode.EXACT.value:
        more -= _SHARED[ratios.mid == 0.0]
    return 1.0 + more * max(0.0, settings.end - settings.start)


def describe(
    settings: Settings, library: PresetLibrary, checkpoint: SelectedCheckpoint | None, size: Size | None
) -> Status:
    """The status of these settings.

    Args:
        settings: the controls as they stand.
        library: the presets.
        checkpoint: the selected checkpoint, None if there is none.
        size: the size set in the tab, None if it is not known.
    """
    problems = " ".join(library.problems())
    if checkpoint is not None and checkpoint.problem is not None:
        return Status(_join(checkpoint.problem, "Pictures are drawn without CR-Diff.", problems), None, None, "problem")
    if checkpoint is None or checkpoint.family is None:
        return _unknown(settings, problems)
    where = checkpoint.family.label[0].upper() + checkpoint.family.label[1:]
    where += "" if size is None else f", {size} (height x width)"
    estimated = False
    try:
        if settings.preset == AUTO:
            estimated = size is None or library.match(checkpoint.family, checkpoint.sha256, size).estimated
        plan = library.planner(settings, size or Size(512, 512))(checkpoint.family, checkpoint.sha256)
    except CRDiffError as problem:
        return Status(_join(f"{where}: {problem}", problems), None, None, "problem")
    ratios = plan.schedule.at(0.0)
    times = cost(settings, ratios, plan.k)
    if not settings.enabled:
        paid = f"off; when on, {_times(times)}"
    else:
        paid = _times(times)
    text = f"{where}: {plan.origin}; {paid}"
    return Status(_join(text, problems), ratios, plan.k, "estimated" if estimated else "ok")


def _times(times: float) -> str:
    return f"{times:.2f}".rstrip("0").ljust(3, "0") + "x UNet time"


def _unknown(settings: Settings, problems: str) -> Status:
    text = "The model's family is told when it is loaded; ratios are looked up for each picture then."
    if settings.preset == AUTO:
        return Status(_join(text, problems), None, None, "ok")
    return Status(_join(text, problems), settings.ratios, settings.k, "ok")


def _join(*parts: str) -> str:
    return " ".join(part for part in parts if part)
