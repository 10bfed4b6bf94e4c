"""Room on the disk for what a calibration keeps."""

from __future__ import annotations

from collections.abc import Sequence

from crdiff.calibration.gradients import kept_bytes
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


def shapes_of(layers: FileLayers) -> Sequence[tuple[int, int]]:
    """(out, in) of the layers of a file that may be pruned."""
    return [layers.shapes[name] for name, role in layers.roles.items() if role.pruned]


def check_disk(request: CalibrationRequest, layers: FileLayers, calibrations: Calibrations) -> None:
    """See that there is room for what a calibration keeps beside its file.

    Raises:
        SettingsError: there is none.
    """
    wanted = {
        "Whole Hessians": sum(hessian_bytes(inputs_of(layers)).values()) if request.hessians == WHOLE else 0,
        "Gradients": kept_bytes(shapes_of(layers)) if request.gradients else 0,
    }
    needed, free = sum(wanted.values()), calibrations.free_bytes()
    if free is not None and free < needed:
        what = " and ".join(name for name, size in wanted.items() if size)
        raise SettingsError(f"{what} take {size_text(needed)} on disk, where {size_text(free)} are free.")


def size_text(count: int) -> str:
    """A number of bytes, such as 3.3 GB."""
    number, unit = float(count), 0
    while number >= _UNIT and unit < len(_UNITS) - 1:
        number, unit = number / _UNIT, unit + 1
    return f"{number:.3g} {_UNITS[unit]}"
