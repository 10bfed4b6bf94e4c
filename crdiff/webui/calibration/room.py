"""Room on the disk for what a calibration keeps."""

from __future__ import annotations

from collections.abc import Sequence

from crdiff.calibration.hessians import WHOLE
from crdiff.calibration.memory import Input, hessian_bytes
from crdiff.errors import SettingsError
from crdiff.models.checkpoint_file import FileLayers
from crdiff.pruning.calibrations import Calibrations
from crdiff.webui.calibration.request import CalibrationRequest

_UNITS = ("bytes", "KB", "MB", "GB")
_UNIT = 1000


def inputs_of(layers: FileLayers) -> Sequence[Input]:
    """The inputs of the layers of a file that may be pruned."""
    pruned = {name: role for name, role in layers.roles.items() if role.pruned}
    return [Input.of(name, role.group, layers.shapes[name][1]) for name, role in pruned.items()]


def check_disk(request: CalibrationRequest, inputs: Sequence[Input], calibrations: Calibrations) -> int:
    """Bytes that whole Hessians take on the disk; 0 if none are wanted.

    Raises:
        SettingsError: they are not free.
    """
    if request.hessians != WHOLE:
        return 0
    needed, free = sum(hessian_bytes(inputs).values()), calibrations.free_bytes()
    if free is not None and free < needed:
        raise SettingsError(f"Whole Hessians take {size_text(needed)} on disk, where {size_text(free)} are free.")
    return needed


def size_text(count: int) -> str:
    """A number of bytes, such as 3.3 GB."""
    number, unit = float(count), 0
    while number >= _UNIT and unit < len(_UNITS) - 1:
        number, unit = number / _UNIT, unit + 1
    return f"{number:.3g} {_UNITS[unit]}"
