"""Axes for the host's X/Y/Z plot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from crdiff.presets.library import PresetLibrary
from crdiff.settings import AUTO, CUSTOM, SPECS

ATTRIBUTE = "crdiff_xyz"
"""Attribute of a processing object under which an axis leaves its value."""

_NUMBERS = ("k", "down", "mid", "up", "start", "end")


def overrides(p: Any) -> dict[str, Any]:
    """The values the axes have set on this processing object."""
    return dict(getattr(p, ATTRIBUTE, {}))


def _setter(name: str, convert: Callable[[Any], Any]) -> Callable[[Any, Any, Any], None]:
    def apply(p: Any, value: Any, values: Any) -> None:
        # A new dictionary: the plot copies p shallowly, and a shared one would leak into the next cell.
        changed = {**overrides(p), name: convert(value)}
        if name in ("down", "mid", "up"):
            changed["preset"] = CUSTOM
        setattr(p, ATTRIBUTE, changed)

    return apply


def _to_bool(value: Any) -> bool:
    return value if isinstance(value, bool) else str(value).strip().lower() == "true"


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
    axes = [
        plot.AxisOption("[CR-Diff] Enabled", str, _setter("enabled", _to_bool), choices=lambda: ["True", "False"]),
        plot.AxisOption(
            "[CR-Diff] Preset", str, _setter("preset", str), choices=lambda: [AUTO, CUSTOM, *library.names()]
        ),
        *(plot.AxisOption(f"[CR-Diff] {name}", float, _setter(name, float)) for name in _NUMBERS),
        plot.AxisOption("[CR-Diff] mode", str, _setter("mode", str), choices=lambda: list(SPECS["mode"].choices)),
    ]
    plot.axis_options.extend(axes)
