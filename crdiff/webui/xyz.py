"""Axes for the host's X/Y/Z plot, one for each setting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from crdiff.checks import shown
from crdiff.errors import SettingsError
from crdiff.method.groups import GROUPS
from crdiff.presets.library import PresetLibrary
from crdiff.settings import Settings
from crdiff.specs import AUTO, BY_HAND, CUSTOM, SPECS

ATTRIBUTE = "crdiff_xyz"
"""Attribute of a processing object under which an axis leaves its value."""

_AXES = "crdiff_xyz_axes"
"""Attribute under which an axis leaves its name and values, for those that are checked after it."""

_HIRES = ("hires", "hires_ratios")
_LABELS = {"enabled": "Enabled", "preset": "Preset"}
_SWITCH = {"true": True, "false": False}


def overrides(p: Any) -> dict[str, Any]:
    """The values the axes have set on this processing object."""
    return dict(getattr(p, ATTRIBUTE, {}))


def _value(name: str, value: Any) -> Any:
    """The value of a setting, from what the plot makes of a text.

    Raises:
        SettingsError: it cannot be used, whatever the other settings are.
    """
    if name == "enabled":
        text = str(value).strip().lower()
        if text not in _SWITCH:
            raise SettingsError(f"CR-Diff: an axis Enabled takes True and False, not {shown(value)}.")
        value = _SWITCH[text]
    return getattr(replace(Settings(), **{name: value}), name)


def _setter(name: str) -> Callable[[Any, Any, Any], None]:
    def apply(p: Any, value: Any, values: Any) -> None:
        # A new dictionary: the plot copies p shallowly, and a shared one would leak into the next cell.
        # Varying a setting means that CR-Diff is to act, unless an axis says when.
        changed = {"enabled": True, **overrides(p), name: _value(name, value)}
        if name in BY_HAND:
            changed["preset"] = CUSTOM
        if name in GROUPS:
            # Ratios for all steps; stages would overrule them.
            changed["stages"] = ""
        setattr(p, ATTRIBUTE, changed)

    return apply


def _check(name: str, library: PresetLibrary) -> Callable[[Any, Any], None]:
    """What the plot asks before it draws, so that no bad value shows only as a blank cell at the end."""

    def confirm(p: Any, values: Any) -> None:
        for value in values:
            found = _value(name, value)
            if name == "preset" and found not in (AUTO, CUSTOM):
                library.named(found)
        if name in _HIRES and not getattr(p, "enable_hr", False):
            raise SettingsError("CR-Diff: the cells of an axis hires are all the same as long as Hires. fix is off.")
        axes = {**getattr(p, _AXES, {}), name: values}
        if "start" in axes and "end" in axes and max(axes["start"]) > min(axes["end"]):
            raise SettingsError("CR-Diff: in some cells of these axes the start would be after the end.")
        if "preset" in axes and not axes.keys().isdisjoint(BY_HAND):
            raise SettingsError(
                "CR-Diff: an axis Preset leaves the axes down, mid, up and stages without effect; use one or the other."
            )
        if "stages" in axes and not axes.keys().isdisjoint(GROUPS):
            raise SettingsError(
                "CR-Diff: an axis stages leaves the axes down, mid and up without effect; use one or the others."
            )
        setattr(p, _AXES, axes)

    return confirm


def _choices(name: str, library: PresetLibrary) -> Callable[[], list[str]] | None:
    if name == "enabled":
        return lambda: ["True", "False"]
    if name == "preset":
        return lambda: [AUTO, CUSTOM, *library.names()]
    return (lambda: list(SPECS[name].choices)) if SPECS[name].choices else None


def add_axes(library: PresetLibrary) -> None:
    """Add CR-Diff's axes to the X/Y/Z plot, once; a host without the plot is left alone."""
    from modules import scripts

    plots = [
        data.module
        for data in scripts.scripts_data
        if data.script_class.__module__ in ("xyz_grid.py", "scripts.xyz_grid")
    ]
    if not plots or not hasattr(plots[0], "axis_options"):
        return
    plot = plots[0]
    if any(axis.label.startswith("[CR-Diff]") for axis in plot.axis_options):
        return
    for name in SPECS:
        choices = _choices(name, library)
        label = f"[CR-Diff] {_LABELS.get(name, name)}"
        kind = str if choices is not None or isinstance(getattr(Settings(), name), str) else float
        axis = plot.AxisOption(label, kind, _setter(name), confirm=_check(name, library), choices=choices)
        if name in _HIRES:
            # Hires. fix is txt2img's only. Forge Classic's plot does not offer the class of such axes.
            axis.is_img2img = False
        plot.axis_options.append(axis)
