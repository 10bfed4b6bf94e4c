"""What all calibrations of this WebUI share for as long as it runs."""

from __future__ import annotations

from dataclasses import dataclass, field

from crdiff.presets.library import PresetLibrary
from crdiff.pruning.calibrations import Calibrations
from crdiff.webui.calibration.monitor import CalibrationMonitor
from crdiff.webui.checkpoints import CheckpointReader
from crdiff.webui.generation import ActiveSlot


@dataclass(frozen=True)
class CalibrationContext:
    """The surroundings of a calibration.

    Attributes:
        calibrations: where they are kept.
        library: the presets, which know the size a family was trained at.
        checkpoints: tells of the selected checkpoint.
        slot: where the host's per-step callback looks.
        monitor: of the calibrations that the page starts; those of the API have their own.
    """

    calibrations: Calibrations
    library: PresetLibrary
    checkpoints: CheckpointReader
    slot: ActiveSlot
    monitor: CalibrationMonitor = field(default_factory=CalibrationMonitor)
