"""CR-Diff in the infotext: what is written with an image, and what pasting it restores.

Every key starts with "CR-Diff" and stays what it is from version to version; the version has a key of its own.
Start, end, hires, mode and criterion are left out at their defaults.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from crdiff import __version__
from crdiff.guidance.prepared import Applied
from crdiff.method.groups import GROUPS
from crdiff.settings import AUTO, CUSTOM, SPECS, Settings

_PREFIX = "CR-Diff "
VERSION_KEY = _PREFIX + "version"
HIRES_RATIOS_KEY = _PREFIX + "hires ratios"
SOURCE_KEY = _PREFIX + "source"
SPARSITY_KEY = _PREFIX + "sparsity"
CALIBRATION_KEY = _PREFIX + "calibration"
NOTE_KEY = _PREFIX + "note"
GRAPHS_KEY = _PREFIX + "CUDA graphs"


def key_of(name: str) -> str:
    """The infotext key of a setting."""
    return _PREFIX + name


_MARK = key_of("k")
KEYS = [key_of(name) for name in SPECS if name != "enabled"]


def preset_label(name: str) -> str:
    """How the preset control shows a preset's name."""
    return name.capitalize() if name in (AUTO, CUSTOM) else name


def clear(params: dict[str, Any]) -> None:
    """Remove CR-Diff's keys; the XYZ plot shares one dictionary between its cells."""
    for key in [key for key in params if isinstance(key, str) and key.startswith(_PREFIX)]:
        del params[key]


def write_settings(params: dict[str, Any], settings: Settings, k: float) -> None:
    """Note the settings of an enabled run, before its ratios are known."""
    params[VERSION_KEY] = __version__
    params[key_of("preset")] = settings.preset
    if settings.preset == CUSTOM:
        for group in GROUPS:
            params[key_of(group)] = _short(settings.ratios[group])
    params[_MARK] = _short(k)
    defaults = Settings()
    for name in ("start", "end"):
        if getattr(settings, name) != getattr(defaults, name):
            params[key_of(name)] = _short(getattr(settings, name))
    for name in ("hires", "mode", "criterion"):
        if getattr(settings, name) != getattr(defaults, name):
            params[key_of(name)] = getattr(settings, name)


def write_applied(params: dict[str, Any], applied: Sequence[Applied], *, hires_pass: bool) -> None:
    """Note the ratios a pass has used and where they came from."""
    if not applied:
        return
    first = applied[0]
    if hires_pass and key_of("down") in params:
        if str(first.ratios) != "/".join(_short(float(params[key_of(group)])) for group in GROUPS):
            params[HIRES_RATIOS_KEY] = str(first.ratios)
        return
    for group in GROUPS:
        params[key_of(group)] = _short(first.ratios[group])
    params[_MARK] = _short(first.plan.k)
    params[SOURCE_KEY] = first.plan.origin
    if first.sparsity:
        params[SPARSITY_KEY] = "/".join(f"{found.sparsity:.3f}" for found in first.sparsity.values())
    if first.basis:
        params[CALIBRATION_KEY] = first.basis


def write_note(params: dict[str, Any], note: str) -> None:
    """Say why an image was drawn without CR-Diff although it was on."""
    params[NOTE_KEY] = note


def write_graphs(params: dict[str, Any], replayed: int) -> None:
    """Say how many of the UNet's predictions were replayed from a CUDA graph, if any were."""
    if replayed:
        params[GRAPHS_KEY] = replayed


def _short(number: float) -> str:
    return f"{number:.4g}"


def reader(name: str, known_preset: Callable[[str], bool]) -> Callable[[Mapping[str, Any]], Any]:
    """What pasting an infotext sets a control to.

    Without CR-Diff in the infotext only ``enabled`` changes, to off. With it, an absent key takes its default, and a
    preset that no longer exists becomes ``custom`` with the ratios it had.

    Args:
        name: the setting.
        known_preset: whether a preset of that name exists.
    """
    default = getattr(Settings(), name)

    def read(params: Mapping[str, Any]) -> Any:
        present = _MARK in params
        if name == "enabled":
            return present
        if not present:
            return None
        value = params.get(key_of(name))
        if name == "preset":
            shown = preset_label(str(value or CUSTOM))
            return shown if known_preset(shown) else preset_label(CUSTOM)
        if name in ("hires", "mode", "criterion"):
            return value if value in SPECS[name].choices else default
        if value is None and name in GROUPS:
            return None
        return _number(value, default, SPECS[name].low, SPECS[name].high)

    return read


def _number(value: Any, default: float | None, low: float, high: float) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return default
    return min(max(number, low), high) if number == number else default
